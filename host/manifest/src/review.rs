use std::fmt;

use airhost_core::ServiceName;

use crate::{DatabaseName, Egress, HostPattern, Injection, Manifest, Scheme, SecretPattern, Topic};

/// Something that a manifest asks for beyond the active one, for a person to allow.
///
/// Limits, labels, schedules and configuration are none: they give no new reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewGrant {
    /// It may call more hosts.
    Egress {
        /// How.
        scheme: Scheme,
        /// Which.
        host: HostPattern,
    },
    /// A host may now be at a private address.
    PrivateAddresses(HostPattern),
    /// Calls to a host are paced less, or no more.
    Pace(HostPattern),
    /// It may call another service.
    Call(ServiceName),
    /// It may publish on a topic.
    Publish(Topic),
    /// It consumes a topic.
    Consume(Topic),
    /// It may use names of the vault.
    Secret(SecretPattern),
    /// A secret is injected into calls.
    Inject(Injection),
    /// It opens a database.
    Database(DatabaseName),
    /// It uses another capability; the full id of its interface.
    Interface(&'static str),
    /// It may say on whose behalf a call is.
    PrincipalAssume,
}

impl fmt::Display for NewGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Egress { scheme, host } => write!(f, "calls {}://{host}", scheme.as_str()),
            Self::PrivateAddresses(host) => write!(f, "reaches `{host}` at private addresses"),
            Self::Pace(host) => write!(f, "calls `{host}` faster than before"),
            Self::Call(service) => write!(f, "calls the service `{service}`"),
            Self::Publish(topic) => write!(f, "publishes `{topic}`"),
            Self::Consume(topic) => write!(f, "consumes `{topic}`"),
            Self::Secret(names) => write!(f, "uses the secrets `{names}`"),
            Self::Inject(rule) => write!(
                f,
                "has the secret `{}` put into `{}` of calls to `{}`",
                rule.secret, rule.header, rule.host
            ),
            Self::Database(name) => write!(f, "opens the database `{name}`"),
            Self::Interface(id) => write!(f, "uses `{id}`"),
            Self::PrincipalAssume => f.write_str("assumes principals (`principal-assume`)"),
        }
    }
}

impl Manifest {
    /// What this manifest asks for beyond the active one. Narrower hosts and names under wider
    /// ones that were there are nothing new.
    #[must_use]
    pub fn more_than(&self, active: &Self) -> Vec<NewGrant> {
        let mut new = Vec::new();
        for egress in &self.egress {
            self::egress(egress, active, &mut new);
        }
        new.extend(self.calls.difference(&active.calls).cloned().map(NewGrant::Call));
        let topics = self.events.out.difference(&active.events.out);
        new.extend(topics.cloned().map(NewGrant::Publish));
        for subscription in &self.events.incoming {
            if active.events.incoming.iter().all(|s| s.topic != subscription.topic) {
                new.push(NewGrant::Consume(subscription.topic.clone()));
            }
        }
        for name in &self.secrets.names {
            if !active.secrets.names.iter().any(|wider| wider.covers(name)) {
                new.push(NewGrant::Secret(name.clone()));
            }
        }
        for rule in &self.secrets.inject {
            if !active.secrets.inject.contains(rule) {
                new.push(NewGrant::Inject(rule.clone()));
            }
        }
        if let Some(database) = &self.stores.sql
            && active.stores.sql.as_ref() != Some(database)
        {
            new.push(NewGrant::Database(database.clone()));
        }
        let (wanted, had) = (self.grants(), active.grants());
        // These say nothing beyond the hosts, services, topics, names and database above.
        const SAID: [&str; 4] = [
            "pyairtable:context/secrets",
            "pyairtable:events/bus",
            "pyairtable:service/client",
            "pyairtable:storage/sql",
        ];
        let more = wanted.imports().filter(|id| !had.allows(id) && !SAID.contains(id));
        new.extend(more.map(NewGrant::Interface));
        if self.grants.principal_assume && !active.grants.principal_assume {
            new.push(NewGrant::PrincipalAssume);
        }
        new
    }
}

fn egress(egress: &Egress, active: &Manifest, new: &mut Vec<NewGrant>) {
    let Egress { host, scheme, .. } = egress;
    let covers = |old: &&Egress| old.scheme == *scheme && old.host.covers(host, old.scheme.port());
    let before: Vec<&Egress> = active.egress.iter().filter(covers).collect();
    if before.is_empty() {
        new.push(NewGrant::Egress { scheme: *scheme, host: host.clone() });
    } else if egress.private && !before.iter().any(|old| old.private) {
        new.push(NewGrant::PrivateAddresses(host.clone()));
    }
    let faster = |old: &&Egress| {
        old.pace.iter().any(|was| {
            let now = egress.pace.iter().find(|now| now.key == was.key);
            now.is_none_or(|now| {
                let per_second =
                    |rate: u32, per: std::time::Duration| f64::from(rate) / per.as_secs_f64();
                per_second(now.rate, now.per) > per_second(was.rate, was.per)
                    || now.pause_after_429 < was.pause_after_429
            })
        })
    };
    if before.first().is_some_and(faster) {
        new.push(NewGrant::Pace(host.clone()));
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::testing::manifest;

    fn check(active: &str, next: &str, expect: &[&str]) {
        let new = manifest(next).more_than(&manifest(active));
        let new: Vec<String> = new.iter().map(ToString::to_string).collect();
        assert_eq!(new, expect, "{active} -> {next}");
    }

    #[test]
    fn what_is_new_is_named() {
        let paced =
            "egress = [{ host = 'a.com', pace = [{ key = 'host', rate = 5, per = '1s' }] }]";
        for (active, next, expect) in [
            ("", "limits.memory = '1GiB'\nlimits.concurrency = 1000", &[][..]),
            ("", "egress = [{ host = 'a.com' }]", &["calls https://a.com"]),
            ("egress = [{ host = '*.b.com' }]", "egress = [{ host = 'a.b.com' }]", &[]),
            (
                "egress = [{ host = 'a.b.com' }]",
                "egress = [{ host = '*.b.com' }]",
                &["calls https://*.b.com"],
            ),
            (
                "egress = [{ host = 'a.com' }]",
                "egress = [{ host = 'a.com', scheme = 'http' }]",
                &["calls http://a.com"],
            ),
            (
                "egress = [{ host = 'a.com' }]",
                "egress = [{ host = 'a.com', private = true }]",
                &["reaches `a.com` at private addresses"],
            ),
            (paced, "egress = [{ host = 'a.com' }]", &["calls `a.com` faster than before"]),
            (paced, paced, &[]),
            ("calls.services = ['a']", "calls.services = ['a', 'b']", &["calls the service `b`"]),
            (
                "stores.sql = 'a_db'",
                "stores.sql = 'b_db'\nevents.out = ['a']\nevents.in = [{ topic = 'b' }]",
                &["publishes `a`", "consumes `b`", "opens the database `b_db`"],
            ),
            (
                "secrets.names = ['a/*']",
                "secrets.names = ['a/b/*', 'c']",
                &["uses the secrets `c`"],
            ),
            (
                "",
                "stores.kv = true\ngrants.mail = true\ngrants.principal-assume = true",
                &[
                    "uses `pyairtable:mail/mailer`",
                    "uses `pyairtable:storage/kv`",
                    "assumes principals (`principal-assume`)",
                ],
            ),
            (
                "egress = [{ host = 'a.com' }]\nsecrets.names = ['k']",
                "egress = [{ host = 'a.com' }]\nsecrets.names = ['k']\nsecrets.inject = [{ host = 'a.com', header = 'X-Key', value = '{secret}', secret = 'k' }]",
                &["has the secret `k` put into `x-key` of calls to `a.com`"],
            ),
        ] {
            check(active, next, expect);
            check(next, next, &[]);
        }
    }
}
