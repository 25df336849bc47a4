//! What is logged: `log.level` of the configuration.

use std::collections::BTreeMap;

use airhost_core::ServiceName;
use airhost_telemetry::log::Level;
use tracing_subscriber::filter::Targets;

/// What is logged of the host and of services, from `info` or `info,hyper=warn,auth-service=debug`.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Of the host, by target of its tracing.
    pub(crate) host: Targets,
    /// Of services without one of their own.
    pub(crate) default: Level,
    /// Of single services.
    pub(crate) services: BTreeMap<ServiceName, Level>,
}

impl Levels {
    /// Reads a list of levels, separated by commas: at most one by itself, which is the default
    /// (`info` if there is none), others as `<service or target>=<level>`.
    ///
    /// # Errors
    /// Which part is wrong, in a sentence. A word that is no level would otherwise be taken as the
    /// name of a target, and the host's own lines would be lost.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let level = |part: &str| {
            part.parse::<Level>().map_err(|error| format!("`{part}` is not a level: {error}"))
        };
        let mut default = None;
        let mut targets = Vec::new();
        let mut services = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, own)) = part.split_once('=') else {
                if default.replace(level(part)?).is_some() {
                    return Err(format!("`{text}` has more than one default"));
                }
                continue;
            };
            let own = level(own)?;
            targets.push((name.to_owned(), tracing::Level::from(own)));
            // The targets of crates are names of services as well; no service has theirs.
            if let Ok(service) = name.parse() {
                services.insert(service, own);
            }
        }
        let default = default.unwrap_or(Level::Info);
        let host = Targets::new().with_default(tracing::Level::from(default)).with_targets(targets);
        Ok(Self { host, default, services })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_have_a_level_of_its_own() {
        let levels = Levels::parse("warn,auth-service=debug, hyper=error").unwrap();
        assert_eq!(levels.default, Level::Warn);
        assert_eq!(levels.services.get("auth-service"), Some(&Level::Debug));
        assert!(levels.host.would_enable("airhost_node", &tracing::Level::WARN));
        assert!(!levels.host.would_enable("airhost_node", &tracing::Level::INFO));
        assert!(!levels.host.would_enable("hyper", &tracing::Level::WARN));
    }

    #[test]
    fn the_host_is_heard_without_a_default() {
        let levels = Levels::parse("auth-service=debug").unwrap();
        assert_eq!(levels.default, Level::Info);
        assert!(levels.host.would_enable("airhost_node", &tracing::Level::INFO));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in
            ["loud", "info,warn", "auth-service=loud", "info,=", "auth-service=", "a=b=info"]
        {
            assert!(Levels::parse(text).is_err(), "{text}");
        }
    }
}
