//! What `service.toml` grants, as far as tests check it.

use toml::{Table, Value};

use super::state::error;
use crate::bindings::pyairtable::types::errors::{Error, ErrorClass};

/// What the manifest lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    topics: Vec<String>,
    services: Vec<String>,
    hosts: Vec<String>,
    secrets: Vec<String>,
    jobs: Vec<String>,
    mail: bool,
}

impl Grants {
    /// From the manifest.
    pub(super) fn of(manifest: &Table) -> Self {
        let texts = |path: &[&str]| -> Vec<String> {
            let value = path.iter().try_fold(None::<&Value>, |at, key| {
                at.map_or_else(|| manifest.get(*key), |value| value.get(key)).map(Some)
            });
            let list = value.flatten().and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let hosts = manifest.get("egress").and_then(Value::as_array).into_iter().flatten();
        let jobs = manifest.get("jobs").and_then(Value::as_table);
        let mail = manifest.get("grants").and_then(|grants| grants.get("mail"));
        Self {
            topics: texts(&["events", "out"]),
            services: texts(&["calls", "services"]),
            hosts: hosts
                .filter_map(|egress| egress.get("host").and_then(Value::as_str))
                .map(str::to_owned)
                .collect(),
            secrets: texts(&["secrets", "names"]),
            jobs: jobs.into_iter().flat_map(Table::keys).cloned().collect(),
            mail: mail.and_then(Value::as_bool).unwrap_or(false),
        }
    }

    pub(super) fn topic(&self, topic: &str) -> Result<(), Error> {
        listed(self.topics.iter().any(|t| t == topic), "events.topic-denied", "[events] out", topic)
    }

    pub(super) fn job(&self, kind: &str) -> Result<(), Error> {
        listed(self.jobs.iter().any(|job| job == kind), "jobs.kind", "[jobs]", kind)
    }

    pub(super) fn mail(&self) -> Result<(), Error> {
        listed(self.mail, "import.denied", "[grants]", "mail")
    }

    pub(super) fn secret(&self, name: &str) -> Result<(), Error> {
        let known = self.secrets.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name,
        });
        listed(known, "secrets.denied", "[secrets] names", name)
    }

    /// A call to a service (`http://permission-service/…`) or a host outside.
    pub(super) fn call(&self, url: &str) -> Result<(), Error> {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.split(':').next().unwrap_or_default();
        let outside = self.hosts.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => pattern == host || pattern == authority,
        });
        let known = outside || self.services.iter().any(|service| service == host);
        listed(known, "call.denied", "[calls] or [[egress]]", host)
    }
}

fn listed(known: bool, code: &str, place: &str, what: &str) -> Result<(), Error> {
    if known {
        return Ok(());
    }
    let message = format!("{what} is not listed under {place} in service.toml");
    Err(error(ErrorClass::Denied, code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_manifest_lists() {
        let manifest = r#"
            [events]
            out = ["a.b"]
            [calls]
            services = ["permission-service"]
            [[egress]]
            host = "*.example.com"
            [secrets]
            names = ["connection/*"]
            [jobs.export]
        "#;
        let grants = Grants::of(&manifest.parse().unwrap());
        assert!(grants.topic("a.b").is_ok() && grants.topic("a").is_err());
        assert!(grants.job("export").is_ok() && grants.job("import").is_err());
        assert!(grants.secret("connection/1").is_ok() && grants.secret("other").is_err());
        assert!(grants.mail().is_err());
        for (url, allowed) in [
            ("http://permission-service/x", true),
            ("http://user-service/x", false),
            ("https://api.example.com:443/x", true),
            ("https://example.org", false),
        ] {
            assert_eq!(grants.call(url).is_ok(), allowed, "{url}");
        }
    }
}
