use std::collections::BTreeSet;

use crate::Manifest;

/// What must be in the manifest for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Calls,
    Secrets,
    Sql,
    Kv,
    Blob,
    Search,
    Timeseries,
    Columnar,
    Publish,
    Store,
    Live,
    Saga,
    Jobs,
    Mail,
    ForeignHttp,
}

/// Every interface that a component may import, and what that takes.
const INTERFACES: [(&str, Need); 25] = [
    ("pyairtable:types/errors", Need::Nothing),
    ("pyairtable:types/http", Need::Nothing),
    ("pyairtable:context/call", Need::Nothing),
    ("pyairtable:context/configuration", Need::Nothing),
    ("pyairtable:context/cache", Need::Nothing),
    ("pyairtable:context/log", Need::Nothing),
    ("pyairtable:context/secrets", Need::Secrets),
    ("pyairtable:crypto/hash", Need::Nothing),
    ("pyairtable:crypto/password", Need::Nothing),
    ("pyairtable:crypto/signature", Need::Nothing),
    ("pyairtable:crypto/compression", Need::Nothing),
    ("pyairtable:service/http", Need::Nothing),
    ("pyairtable:service/client", Need::Calls),
    ("pyairtable:service/jobs", Need::Jobs),
    ("pyairtable:storage/sql", Need::Sql),
    ("pyairtable:storage/kv", Need::Kv),
    ("pyairtable:storage/blob", Need::Blob),
    ("pyairtable:storage/search", Need::Search),
    ("pyairtable:storage/timeseries", Need::Timeseries),
    ("pyairtable:storage/columnar", Need::Columnar),
    ("pyairtable:events/bus", Need::Publish),
    ("pyairtable:events/store", Need::Store),
    ("pyairtable:events/saga", Need::Saga),
    ("pyairtable:events/live", Need::Live),
    ("pyairtable:mail/mailer", Need::Mail),
];

/// These hold types for replies and nothing to call.
const REPLIES: [&str; 2] = ["pyairtable:events/live-reply", "pyairtable:storage/blob-reply"];
const OUTGOING_HTTP: &str = "wasi:http/outgoing-handler";

const CONSUMER: &str = "pyairtable:events/consumer";
const JOB_HANDLER: &str = "pyairtable:service/job-handler";
const TICK_HANDLER: &str = "pyairtable:service/tick-handler";
const SUBJECT_DATA: &str = "pyairtable:service/subject-data";

/// Exports that the host calls on its own account.
pub(crate) const ENTRY_POINTS: [&str; 6] = [
    "pyairtable:service/handler",
    "wasi:http/incoming-handler",
    CONSUMER,
    JOB_HANDLER,
    TICK_HANDLER,
    SUBJECT_DATA,
];

/// The interfaces that a manifest lets a component import, and those it obliges it to export, as
/// full ids without version: `pyairtable:storage/sql`.
///
/// Type-only imports are no capability and need no grant: `transaction` of `storage/sql` comes
/// with every interface that takes one. The host must still define their resource types when it links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    imports: BTreeSet<&'static str>,
    exports: BTreeSet<&'static str>,
}

impl Grants {
    /// Whether functions of an interface may be imported. WASI 0.2 is there for everyone, since
    /// language runtimes import it and the host links empty stand-ins; `wasi:http` outgoing is not.
    #[must_use]
    pub fn allows(&self, interface: &str) -> bool {
        self.imports.contains(interface) || (is_wasi(interface) && interface != OUTGOING_HTTP)
    }

    /// Every interface of this platform (and `wasi:http/outgoing-handler`) that may be imported.
    pub fn imports(&self) -> impl Iterator<Item = &'static str> {
        self.imports.iter().copied()
    }

    /// What the component must export because the manifest lists events in, jobs or ticks.
    pub fn exports(&self) -> impl Iterator<Item = &'static str> {
        self.exports.iter().copied()
    }
}

impl Manifest {
    /// What the manifest grants.
    #[must_use]
    pub fn grants(&self) -> Grants {
        let granted = INTERFACES.iter().chain(&[(OUTGOING_HTTP, Need::ForeignHttp)]);
        let imports = granted.filter(|(_, need)| self.has(*need)).map(|(id, _)| *id);
        let exports = [
            (CONSUMER, !self.events.incoming.is_empty()),
            (JOB_HANDLER, !self.jobs.is_empty()),
            (TICK_HANDLER, !self.ticks.is_empty()),
        ];
        Grants {
            imports: imports.chain(REPLIES).collect(),
            exports: exports.iter().filter(|(_, implied)| *implied).map(|(id, _)| *id).collect(),
        }
    }

    fn has(&self, need: Need) -> bool {
        let Self { stores, events, .. } = self;
        let reaches = !self.calls.is_empty() || !self.egress.is_empty();
        match need {
            Need::Nothing => true,
            Need::Calls => reaches,
            Need::Secrets => !self.secrets.names.is_empty(),
            Need::Sql => stores.sql.is_some(),
            Need::Kv => stores.kv,
            Need::Blob => stores.blob,
            Need::Search => stores.search,
            Need::Timeseries => stores.timeseries,
            Need::Columnar => stores.columnar,
            Need::Publish => !events.out.is_empty(),
            Need::Store => events.store,
            Need::Live => events.live,
            Need::Saga => events.saga,
            Need::Jobs => !self.jobs.is_empty(),
            Need::Mail => self.grants.mail,
            Need::ForeignHttp => self.grants.foreign_wasi_http && reaches,
        }
    }

    /// What to add to `service.toml` for an interface.
    pub(crate) fn line_for(&self, interface: &str) -> String {
        if interface == OUTGOING_HTTP {
            return "add `foreign-wasi-http = true` under [grants] and the hosts it calls as [[egress]]"
                .to_owned();
        }
        let need = INTERFACES.iter().find(|(id, _)| *id == interface).map(|(_, need)| *need);
        let line = match need {
            Some(Need::Sql) => {
                let database = self.name.as_str().trim_end_matches("-service").replace('-', "_");
                return format!("add `sql = \"{database}_db\"` under [stores]");
            }
            Some(Need::Kv) => "add `kv = true` under [stores]",
            Some(Need::Blob) => "add `blob = true` under [stores]",
            Some(Need::Search) => "add `search = true` under [stores]",
            Some(Need::Timeseries) => "add `timeseries = true` under [stores]",
            Some(Need::Columnar) => "add `columnar = true` under [stores]",
            Some(Need::Store) => "add `store = true` under [events]",
            Some(Need::Live) => "add `live = true` under [events]",
            Some(Need::Saga) => "add `saga = true` under [events]",
            Some(Need::Publish) => {
                "add the topics it publishes as `out = [\"...\"]` under [events]"
            }
            Some(Need::Secrets) => "add the names it uses as `names = [\"...\"]` under [secrets]",
            Some(Need::Jobs) => "add its kinds of job, each as `[jobs.<kind>]`",
            Some(Need::Mail) => "add `mail = true` under [grants]",
            Some(Need::Calls) => {
                "add the services it calls as `services = [\"...\"]` under [calls], or the hosts as [[egress]]"
            }
            Some(Need::Nothing | Need::ForeignHttp) | None => "do not import it",
        };
        line.to_owned()
    }
}

/// Where an export is asked for in the manifest.
pub(crate) fn section_of_export(interface: &str) -> Option<&'static str> {
    match interface {
        CONSUMER => Some("[[events.in]]"),
        JOB_HANDLER => Some("[jobs.<kind>]"),
        TICK_HANDLER => Some("[ticks.<name>]"),
        _ => None,
    }
}

/// Whether every manifest may import it.
pub(crate) fn is_wasi(interface: &str) -> bool {
    const PACKAGES: [&str; 7] = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    PACKAGES.iter().any(|package| interface.starts_with(package))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::testing::manifest;

    #[test]
    fn each_line_grants_its_interface() {
        let bare = manifest("").grants();
        assert!(bare.allows("pyairtable:context/call") && bare.allows("wasi:io/streams"));
        for (lines, interface) in [
            ("stores.kv = true", "pyairtable:storage/kv"),
            ("stores.sql = 'a_db'", "pyairtable:storage/sql"),
            ("stores.blob = true", "pyairtable:storage/blob"),
            ("stores.search = true", "pyairtable:storage/search"),
            ("stores.timeseries = true", "pyairtable:storage/timeseries"),
            ("stores.columnar = true", "pyairtable:storage/columnar"),
            ("stores.sql = 'a_db'\nevents.out = ['a.b']", "pyairtable:events/bus"),
            ("stores.sql = 'a_db'\nevents.store = true", "pyairtable:events/store"),
            ("stores.sql = 'a_db'\nevents.saga = true", "pyairtable:events/saga"),
            ("events.live = true", "pyairtable:events/live"),
            ("stores.sql = 'a_db'\njobs.a = {}", "pyairtable:service/jobs"),
            ("grants.mail = true", "pyairtable:mail/mailer"),
            ("secrets.names = ['a']", "pyairtable:context/secrets"),
            ("calls.services = ['a']", "pyairtable:service/client"),
            ("egress = [{ host = 'a.com' }]", "pyairtable:service/client"),
            (
                "egress = [{ host = 'a.com' }]\ngrants.foreign-wasi-http = true",
                "wasi:http/outgoing-handler",
            ),
        ] {
            assert!(!bare.allows(interface), "{interface}");
            assert!(manifest(lines).grants().allows(interface), "{interface}");
        }
    }

    #[test]
    fn events_in_jobs_and_ticks_imply_exports() {
        let lines =
            "stores.sql = 'a_db'\nevents.in = [{ topic = 'a' }]\njobs.a = {}\nticks.a.every = '1h'";
        let exports: Vec<_> = manifest(lines).grants().exports().collect();
        assert_eq!(exports, [CONSUMER, JOB_HANDLER, TICK_HANDLER]);
        assert_eq!(manifest("").grants().exports().count(), 0);
    }
}
