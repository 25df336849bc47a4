//! Who may call whom, made from the manifests of the active revisions.

use std::{collections::HashMap, sync::Arc};

use airhost_core::ServiceName;
use airhost_manifest::{Egress, Injection, Manifest, Pace, PaceKey, Scheme};
use airhost_telemetry::metrics::EdgeMetrics;
use tokio::sync::Semaphore;

use super::{
    edges::Edges,
    pacing::{Limit, Pacer},
};

/// What the callers may do: one snapshot, replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    callers: HashMap<ServiceName, Arc<CallerGrants>>,
}

/// What one service may do.
#[derive(Debug)]
pub(crate) struct CallerGrants {
    services: HashMap<ServiceName, Arc<InsideGrant>>,
    outside: Vec<Arc<OutsideGrant>>,
    /// Calls that were refused, whatever they named.
    pub(crate) denied: Arc<EdgeMetrics>,
}

/// A service that may be called. Calls in process are counted for both sides here, as two
/// sidecars would.
#[derive(Debug)]
pub(crate) struct InsideGrant {
    pub(crate) source: Arc<EdgeMetrics>,
    pub(crate) destination: Arc<EdgeMetrics>,
}

/// One entry of a manifest's `[[egress]]`.
#[derive(Debug)]
pub(crate) struct OutsideGrant {
    pub(crate) egress: Egress,
    pub(crate) injections: Vec<Injection>,
    pub(crate) pacer: Option<Arc<Pacer>>,
    /// Calls under way.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) metrics: Arc<EdgeMetrics>,
}

impl Grants {
    /// The snapshot for a set of manifests. Pacers and slots of entries that are the same as
    /// before go on: a deploy must not make a limit start afresh.
    pub(crate) fn new<'a>(
        manifests: impl IntoIterator<Item = &'a Manifest>,
        before: &Self,
        slots: usize,
        edges: &Edges,
    ) -> Self {
        let callers = manifests.into_iter().map(|manifest| {
            let old = before.callers.get(&manifest.name);
            let outside = manifest.egress.iter().map(|egress| {
                let kept = old.and_then(|old| {
                    old.outside.iter().find(|grant| {
                        grant.egress.host == egress.host && grant.egress.pace == egress.pace
                    })
                });
                Arc::new(OutsideGrant {
                    pacer: match kept {
                        Some(kept) => kept.pacer.clone(),
                        None => pacer(&egress.pace),
                    },
                    slots: kept.map_or_else(
                        || Arc::new(Semaphore::new(slots)),
                        |kept| Arc::clone(&kept.slots),
                    ),
                    injections: manifest.secrets.inject.clone(),
                    metrics: edges.outside(&manifest.name, &egress.host.to_string()),
                    egress: egress.clone(),
                })
            });
            let grants = CallerGrants {
                services: manifest
                    .calls
                    .iter()
                    .map(|callee| (callee.clone(), InsideGrant::new(edges, &manifest.name, callee)))
                    .collect(),
                outside: outside.collect(),
                denied: edges.denied(&manifest.name),
            };
            (manifest.name.clone(), Arc::new(grants))
        });
        Self { callers: callers.collect() }
    }

    pub(crate) fn of(&self, caller: &ServiceName) -> Option<&Arc<CallerGrants>> {
        self.callers.get(caller)
    }
}

impl CallerGrants {
    pub(crate) fn inside(&self, service: &ServiceName) -> Option<&Arc<InsideGrant>> {
        self.services.get(service)
    }

    pub(crate) fn outside(
        &self,
        scheme: Scheme,
        host: &str,
        port: u16,
    ) -> Option<&Arc<OutsideGrant>> {
        self.outside.iter().find(|grant| grant.egress.allows(scheme, host, port))
    }
}

impl InsideGrant {
    fn new(edges: &Edges, caller: &ServiceName, callee: &ServiceName) -> Arc<Self> {
        Arc::new(Self {
            source: edges.source(caller, callee),
            destination: edges.destination(caller, callee),
        })
    }
}

fn pacer(paces: &[Pace]) -> Option<Arc<Pacer>> {
    let limits: Vec<Limit> = paces
        .iter()
        .map(|pace| Limit { rate: pace.rate, per: pace.per, pause_after_429: pace.pause_after_429 })
        .collect();
    (!limits.is_empty()).then(|| Pacer::new(limits))
}

/// What a call is counted under, in the order of the entry's paces.
pub(crate) fn pace_keys(
    paces: &[Pace],
    path: &str,
    credential: &str,
    host: &str,
) -> Vec<(u8, Box<str>)> {
    // A path without the segment shares a limit with others of its kind.
    let value = |key: &PaceKey| match key {
        PaceKey::Path(nth) => path.split('/').nth(usize::from(*nth)).unwrap_or(""),
        PaceKey::Prefix(prefix) => {
            path.split('/').find(|segment| segment.starts_with(&**prefix)).unwrap_or("")
        }
        PaceKey::Credential => credential,
        PaceKey::Host => host,
    };
    (0_u8..).zip(paces).map(|(at, pace)| (at, value(&pace.key).into())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_are_taken_from_the_path_the_credential_and_the_host() {
        let pace = |key| Pace { key, rate: 5, per: Duration::from_secs(1), pause_after_429: None };
        let paces = [pace(PaceKey::Path(2)), pace(PaceKey::Credential), pace(PaceKey::Host)];
        let keys = pace_keys(&paces, "/v0/app1/T", "t/c", "api.airtable.com");
        assert_eq!(keys, [(0, "app1".into()), (1, "t/c".into()), (2, "api.airtable.com".into())]);
        assert_eq!(&*pace_keys(&paces, "/v0", "", "h")[0].1, "");
        let paces = [pace(PaceKey::Prefix("app".into()))];
        for path in ["/v0/app1/T", "/v0/app1/apples", "/v0/meta/bases/app1", "/v0/bases/app1/x"] {
            assert_eq!(&*pace_keys(&paces, path, "", "h")[0].1, "app1", "{path}");
        }
        assert_eq!(&*pace_keys(&paces, "/v0/meta/bases", "", "h")[0].1, "");
    }
}
