use std::collections::{BTreeMap, BTreeSet};

use airhost_core::ServiceName;
use toml::de::DeTable;

use super::{
    DEFAULT_POOL, Egress, Events, Instances, Job, Language, Limits, Manifest, Pool, Privileges,
    Retention, Schedule, Secrets, Slo, Stores, limits::Scope,
};
use crate::{
    Config, Problem,
    decode::{Field, Section, Source},
};

/// Keys and where they belong, for those who write them in the wrong place.
const PLACES: [(&str, &[&str]); 7] = [
    ("the top level", &["name", "team", "description", "port", "contract", "language"]),
    (
        "[limits]",
        &[
            "memory",
            "cpu",
            "wall",
            "concurrency",
            "queue",
            "body",
            "inline-body",
            "output",
            "stream-output",
            "log-lines-per-second",
            "cache",
            "transactions",
        ],
    ),
    ("[stores]", &["sql", "kv", "blob", "search", "timeseries", "columnar"]),
    ("[events]", &["out", "store", "live", "saga"]),
    ("[grants]", &["principal-assume", "mail", "foreign-wasi-http"]),
    ("[slo]", &["availability", "p95"]),
    ("[calls]", &["services"]),
];

/// The section that a key belongs in, if it is clear.
pub(super) fn belongs(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| *section)
}

pub(super) fn manifest(text: &str) -> Result<Manifest, Vec<Problem>> {
    let source = Source::new(text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            let at = error.span().map_or(0, |span| span.start);
            source.fail(at, error.message().trim_end_matches('.').replace('\n', "; "));
        }
        return Err(source.into_problems());
    }
    let read = decode(&source, table.get_ref());
    let problems = source.into_problems();
    match read {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        _ => Err(problems),
    }
}

/// None only if something is wrong that was reported.
fn decode<'s>(source: &'s Source<'s>, table: &'s DeTable<'s>) -> Option<Manifest> {
    let root = Section::root(source, table);
    let name = root.required("name", "\"quote-service\"").and_then(|f| f.parse::<ServiceName>());
    let team = root.required("team", "\"platform\"").and_then(|f| line(&f, 63));
    let description = root.required("description", "\"Answers with a quote.\"");
    let description = description.and_then(|f| line(&f, 300));
    let port = root.required("port", "8090").and_then(|f| f.integer(1024..=65_535_u16));
    let contract = root.required("contract", &format!("\"{}\"", super::CONTRACT));
    let contract = contract.and_then(|f| f.parse());
    let language = root.get("language").and_then(|f| {
        f.choice(&[
            ("rust", Language::Rust),
            ("python", Language::Python),
            ("javascript", Language::JavaScript),
            ("other", Language::Other),
        ])
    });
    let language = language.unwrap_or_default();

    let section = |key| root.get(key).and_then(|f| f.section());
    let sections = |key| root.get(key).map(|f| f.sections()).unwrap_or_default();

    let default_pool = Pool {
        name: DEFAULT_POOL.to_owned(),
        instances: root.get("instances").and_then(|f| instances(&f)).unwrap_or_default(),
        labels: section("labels").map(|s| labels(&s)).unwrap_or_default(),
        limits: match section("limits") {
            Some(section) => Limits::of(language).with(section, Scope::Service),
            None => Limits::of(language),
        },
    };
    let mut more_pools: Vec<Pool> = Vec::new();
    for (entry, place) in sections("pools") {
        let Some(next) = pool(entry, &default_pool) else { continue };
        if next.name == DEFAULT_POOL || more_pools.iter().any(|p| p.name == next.name) {
            let name = &next.name;
            place.fail(format!("pool `{name}` is there already; give this one another name"));
        } else {
            more_pools.push(next);
        }
    }

    let stores = section("stores").map(stores).unwrap_or_default();
    let events = section("events").map(Events::decode).unwrap_or_default();
    let calls = section("calls").map(calls).unwrap_or_default();
    let mut egress: Vec<Egress> = Vec::new();
    for (entry, place) in sections("egress") {
        let Some(next) = Egress::decode(entry) else { continue };
        if egress.iter().any(|e| e.host == next.host && e.scheme == next.scheme) {
            place.fail(format!("`{}` is in [[egress]] twice; remove one", next.host));
        } else {
            egress.push(next);
        }
    }
    let secrets = section("secrets").map(|s| Secrets::decode(s, &egress)).unwrap_or_default();
    let grants = section("grants").map(privileges).unwrap_or_default();

    let mut jobs = BTreeMap::new();
    for (kind, at, field) in section("jobs").iter().flat_map(Section::fields) {
        check_name(source, at, "kind of job", kind);
        jobs.extend(field.section().map(|s| (kind.to_owned(), Job::decode(s))));
    }
    let mut ticks = BTreeMap::new();
    for (tick, at, field) in section("ticks").iter().flat_map(Section::fields) {
        check_name(source, at, "tick", tick);
        let schedule = field.section().and_then(|s| Schedule::decode(s, tick));
        ticks.extend(schedule.map(|s| (tick.to_owned(), s)));
    }

    let slo = section("slo").map(slo).unwrap_or_default();
    let mut retention: Vec<Retention> = Vec::new();
    for (entry, place) in sections("retention") {
        if stores.sql.is_none() {
            let database = name.as_ref().map_or_else(|| "quote_db".to_owned(), database);
            place.fail(format!(
                "[[retention]] needs a database; add `sql = \"{database}\"` under [stores]"
            ));
        }
        let Some(next) = Retention::decode(entry) else { continue };
        if retention.iter().any(|r| r.table == next.table && r.column == next.column) {
            let (table, column) = (&next.table, &next.column);
            place.fail(format!("`{table}.{column}` is in [[retention]] twice; remove one"));
        } else {
            retention.push(next);
        }
    }
    let config = section("config").map(|s| config(source, &s)).unwrap_or_default();

    let manifest = name.zip(team).zip(description).map(|((name, team), description)| {
        let port = port.unwrap_or_default();
        let contract = contract.unwrap_or(super::CONTRACT);
        let manifest = Manifest {
            name,
            team,
            description,
            port,
            contract,
            language,
            stores,
            events,
            calls,
            egress,
            secrets,
            grants,
            jobs,
            ticks,
            slo,
            retention,
            config,
            default_pool,
            more_pools,
        };
        check_whole(&root, &manifest);
        manifest
    });
    root.finish(belongs);
    manifest
}

/// What the database of a service is usually called.
fn database(name: &ServiceName) -> String {
    format!("{}_db", name.as_str().trim_end_matches("-service").replace('-', "_"))
}

/// The rules that hold between sections.
fn check_whole(root: &Section<'_>, manifest: &Manifest) {
    let Manifest { name, stores, events, jobs, .. } = manifest;
    if stores.sql.is_none() {
        // The host keeps outbox, inbox, events and jobs in the service's own database, so that
        // they commit with what they speak of.
        let database = database(name);
        let needs =
            [(events.needs_sql(), "events"), ((!jobs.is_empty()).then_some("[jobs]"), "jobs")];
        for (what, section) in needs {
            let (Some(what), Some(field)) = (what, root.get(section)) else { continue };
            field.fail(format!(
                "{what} needs a database of the service's own; add `sql = \"{database}\"` under [stores]"
            ));
        }
    }
    if manifest.calls.contains(name.as_str())
        && let Some(field) = root.get("calls")
    {
        field.fail(format!("`{name}` lists itself under [calls]; remove it"));
    }
    if manifest.grants.foreign_wasi_http
        && manifest.egress.is_empty()
        && manifest.calls.is_empty()
        && let Some(field) = root.get("grants")
    {
        field.fail("`foreign-wasi-http` reaches nothing; add the hosts it calls as [[egress]]");
    }
}

fn pool(section: Section<'_>, default: &Pool) -> Option<Pool> {
    let name = section.required("name", "\"high-performance\"");
    let name = name.and_then(|f| f.parse::<ServiceName>().map(|name| name.to_string()));
    let mut pool = default.clone();
    if let Some(entry) = section.get("labels").and_then(|f| f.section()) {
        pool.labels.extend(labels(&entry));
    }
    if let Some(entry) = section.get("limits").and_then(|f| f.section()) {
        pool.limits = pool.limits.with(entry, Scope::Pool);
    }
    if let Some(field) = section.get("instances") {
        pool.instances = instances(&field).unwrap_or_default();
    }
    section.finish(belongs);
    pool.name = name?;
    Some(pool)
}

fn instances(field: &Field<'_>) -> Option<Instances> {
    field.choice(&[
        ("auto", Instances::Auto),
        ("fresh", Instances::Fresh),
        ("warm", Instances::Warm),
    ])
}

/// Label keys and values as Kubernetes takes them, so that routes and metrics can carry them.
fn labels(section: &Section<'_>) -> BTreeMap<String, String> {
    let valid = |text: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        text.len() <= 63
            && edge(text.bytes().next())
            && edge(text.bytes().last())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let mut labels = BTreeMap::new();
    for (key, _, field) in section.fields() {
        let Some(value) = field.text() else { continue };
        for text in [key, value] {
            if !valid(text) {
                field.fail(format!(
                    "`{text}` is not a label: use 1 to 63 letters, digits, ., _ and -, with a letter or digit at both ends"
                ));
            }
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    if labels.len() > 16 {
        section.fail("there are at most 16 labels; remove some");
    }
    labels
}

fn stores(section: Section<'_>) -> Stores {
    let flag = |key| section.get(key).and_then(|f| f.flag()).unwrap_or_default();
    let stores = Stores {
        sql: section.get("sql").and_then(|f| f.parse()),
        kv: flag("kv"),
        blob: flag("blob"),
        search: flag("search"),
        timeseries: flag("timeseries"),
        columnar: flag("columnar"),
    };
    section.finish(belongs);
    stores
}

fn calls(section: Section<'_>) -> BTreeSet<ServiceName> {
    let services = section.get("services").map(|f| f.distinct()).unwrap_or_default();
    section.finish(belongs);
    services.into_iter().map(|(service, _)| service).collect()
}

fn privileges(section: Section<'_>) -> Privileges {
    let flag = |key| section.get(key).and_then(|f| f.flag()).unwrap_or_default();
    let privileges = Privileges {
        principal_assume: flag("principal-assume"),
        mail: flag("mail"),
        foreign_wasi_http: flag("foreign-wasi-http"),
    };
    section.finish(belongs);
    privileges
}

fn slo(section: Section<'_>) -> Slo {
    let millis = std::time::Duration::from_millis;
    let slo = Slo {
        availability: section.get("availability").and_then(|f| f.number(50.0..=100.0)),
        p95: section.get("p95").and_then(|f| f.duration(millis(1)..=millis(3_600_000))),
    };
    section.finish(belongs);
    slo
}

fn config(source: &Source<'_>, section: &Section<'_>) -> Config {
    let mut values = BTreeMap::new();
    for (key, at, field) in section.fields() {
        check_name(source, at, "config key", key);
        values.extend(field.json().map(|value| (key.to_owned(), value)));
    }
    Config(values)
}

/// Kinds of job, ticks and config keys are words of `a-z`, `0-9` and `-`.
fn check_name(source: &Source<'_>, at: usize, what: &str, name: &str) {
    let valid = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        source.fail(at, format!(
            "`{name}` is not the name of a {what}: use 1 to 63 characters of a-z, 0-9 and -, beginning with a letter"
        ));
    }
}

/// One line of text.
fn line(field: &Field<'_>, max: usize) -> Option<String> {
    let text = field.text()?;
    if text.trim().is_empty() || text.chars().count() > max || text.contains(char::is_control) {
        field.fail(format!("write one line of 1 to {max} characters"));
        return None;
    }
    Some(text.to_owned())
}
