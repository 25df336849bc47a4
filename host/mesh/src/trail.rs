//! Where a call goes, told on its way: for the access log and its span.

use std::sync::Arc;

use airhost_telemetry::access::Upstream;
use parking_lot::Mutex;

/// What is told of a call so far; of several endpoints the last one. A listener puts one among the
/// extensions of its request, so that it learns of the call that a service answers with
/// (`proxy(call)`), also when that fails.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Facts>);

/// What was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) upstream: Upstream,
    /// Tries after the first one.
    pub(crate) retries: u32,
}

impl Trail {
    /// An endpoint of a destination was chosen.
    pub(crate) fn to(&self, cluster: &Arc<str>, host: &Arc<str>) {
        let mut facts = self.0.lock();
        facts.upstream.cluster = Some(Arc::clone(cluster));
        facts.upstream.host = Some(Arc::clone(host));
    }

    /// A route was taken.
    pub(crate) fn route(&self, name: &str) {
        self.0.lock().upstream.route = Some(name.into());
    }

    /// The call is tried again.
    pub(crate) fn retried(&self) {
        self.0.lock().retries += 1;
    }

    pub(crate) fn facts(&self) -> Facts {
        self.0.lock().clone()
    }
}
