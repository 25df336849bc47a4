use std::{path::Path, time::Duration};

use super::testing::{HEAD, manifest};
use super::*;
use crate::ByteSize;

/// The faults of a manifest, the place before each.
fn faults(text: &str) -> Vec<String> {
    let error = Manifest::parse("service.toml", text).unwrap_err();
    error.to_string().lines().map(|line| line.replace("service.toml:", "")).collect()
}

/// Lines after the five that every manifest needs, and the one fault in them.
fn check(lines: &str, expect: &str) {
    assert_eq!(faults(&format!("{HEAD}{lines}")), [expect], "{lines}");
}

/// The decided format, every key of it.
const EVERYTHING: &str = r#"
name = "airtable-connector"
team = "integration"
description = "Talks to Airtable."
port = 8020
contract = "0.1"
instances = "auto"
language = "rust"

[labels]
tier = "standard"
zone = "a"

[[pools]]
name = "high-performance"
labels = { tier = "high" }
limits = { concurrency = 128 }
instances = "warm"

[stores]
sql = "airtable_connector_db"
kv = true
blob = false
search = false
timeseries = false
columnar = false

[events]
out = ["record.created"]
store = false
live = false
saga = false
[[events.in]]
topic = "user.registered"
mode = "exactly-once"
max-attempts = 10

[calls]
services = ["permission-service"]

[[egress]]
host = "api.airtable.com"
scheme = "https"
private = false
[[egress.pace]]
key = "path:2"
rate = 5
per = "1s"
pause-after-429 = "30s"

[secrets]
names = ["connection/*"]
[[secrets.inject]]
host = "api.airtable.com"
header = "authorization"
value = "Bearer {secret}"
secret = "connection/{scope}"

[grants]
principal-assume = false
mail = false
foreign-wasi-http = false

[jobs.refresh-webhooks]
max-attempts = 5
deadline = "60s"

[ticks.cleanup]
every = "1h"

[ticks.nightly]
cron = "0 3 * * *"

[limits]
memory = "64MiB"
cpu = "500ms"
wall = "10s"
concurrency = 64
queue = 256
body = "10MiB"
inline-body = "256KiB"
output = "8MiB"
stream-output = "2GiB"
log-lines-per-second = 200
cache = "16MiB"
transactions = 4

[slo]
availability = 99.9
p95 = "200ms"

[[retention]]
table = "sessions"
column = "expires_at"
keep = "30d"

[config]
access-token-seconds = 900
issuer = "https://pyairtable.local"
ratio = 1.0
plans = { free = [1, 2], paid = [] }
"#;

#[test]
fn the_whole_format_is_read() {
    let manifest = Manifest::parse("service.toml", EVERYTHING).unwrap();
    assert_eq!(manifest.name.as_str(), "airtable-connector");
    assert_eq!(manifest.stores.sql.as_ref().unwrap().as_str(), "airtable_connector_db");
    assert!(manifest.may_publish("record.created") && !manifest.may_publish("record.updated"));
    let egress = manifest.egress_to(Scheme::Https, "api.airtable.com", 443).unwrap();
    assert_eq!(egress.pace[0].key, PaceKey::Path(2));
    for key in ["path:16", "segment:app", "credential", "host"] {
        assert_eq!(key.parse::<PaceKey>().unwrap().to_string(), key);
    }
    assert_eq!(egress.pace[0].pause_after_429, Some(Duration::from_secs(30)));
    assert!(manifest.egress_to(Scheme::Http, "api.airtable.com", 443).is_none());
    let rule = &manifest.secrets.inject[0];
    assert_eq!(rule.secret_name(Some("app1")).as_deref(), Some("connection/app1"));
    assert_eq!((rule.secret_name(None), rule.secret_name(Some(""))), (None, None));
    assert_eq!(rule.value_with("pat123"), "Bearer pat123");
    assert_eq!(manifest.ticks["cleanup"], Schedule::Every(Duration::from_secs(3_600)));
    assert_eq!(manifest.config.get("access-token-seconds"), Some(&900.into()));
    assert_eq!(manifest.slo.availability, Some(99.9));
}

#[test]
fn pools_are_complete_and_the_default_one_is_first() {
    let manifest = Manifest::parse("service.toml", EVERYTHING).unwrap();
    let [default, high] = &manifest.pools().collect::<Vec<_>>()[..] else { panic!("two pools") };
    assert_eq!((&*default.name, default.limits.concurrency), ("default", 64));
    assert_eq!((&*high.name, high.limits.concurrency), ("high-performance", 128));
    assert_eq!(high.limits, Limits { concurrency: 128, ..default.limits });
    assert_eq!(high.instances, Instances::Warm);
    assert_eq!((&*high.labels["tier"], &*high.labels["zone"]), ("high", "a"));
}

#[test]
fn the_canonical_form_reads_back_equal() {
    for manifest in [Manifest::parse("service.toml", EVERYTHING).unwrap(), manifest("")] {
        let text = manifest.to_toml();
        let again = Manifest::parse("canonical", &text).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(again.to_toml(), text);
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest, "{json}");
    }
}

#[test]
fn json_goes_by_the_same_rules() {
    let mut json = serde_json::to_value(manifest("")).unwrap();
    json["limits"]["memry"] = "64MiB".into();
    let error = serde_json::from_value::<Manifest>(json).unwrap_err().to_string();
    assert!(error.contains("unknown key `memry` in [limits]; did you mean `memory`?"), "{error}");
}

#[test]
fn limits_follow_the_language() {
    for (language, memory, tables) in
        [("rust", 64, 8), ("python", 256, 64), ("javascript", 128, 16), ("other", 128, 64)]
    {
        let manifest = manifest(&format!("language = '{language}'"));
        assert_eq!(manifest.limits().memory, ByteSize::mib(memory), "{language}");
        assert_eq!(manifest.limits().tables, tables, "{language}");
    }
    let limits = *manifest("limits = { wall = '100ms', body = '1KiB' }").limits();
    assert_eq!(limits.cpu, Duration::from_millis(100));
    assert_eq!(limits.inline_body, ByteSize::kib(1));
}

#[test]
fn faults_are_named_with_their_place() {
    for (lines, expect) in [
        ("[limits]\nmemry = 1", "7:1: unknown key `memry` in [limits]; did you mean `memory`?"),
        ("memory = '1MiB'", "6:1: unknown key `memory` at the top level; it belongs in [limits]"),
        (
            "[slo]\nfoo = 1",
            "7:1: unknown key `foo` in [slo]; known keys are `availability` and `p95`",
        ),
        (
            "instnces = 'auto'",
            "6:1: unknown key `instnces` at the top level; did you mean `instances`?",
        ),
        ("[limits]\nmemory = 64", "7:10: `memory` must be a text in quotes, not a whole number"),
        (
            "[limits]\nmemory = '64MB'",
            "7:10: `64MB` is not a size: write a whole number with a unit, B, KiB, MiB, GiB or TiB, as in `64MiB`",
        ),
        ("[limits]\nmemory = '5GiB'", "7:10: `memory` must be from 1MiB to 4GiB"),
        ("[limits]\nconcurrency = 0", "7:15: `concurrency` must be from 1 to 1024"),
        ("[limits]\nconcurrency = -1", "7:15: `concurrency` must be from 1 to 1024"),
        (
            "[limits]\ncpu = '20s'",
            "7:7: `cpu` is 20s but `wall` is 10s; raise `wall` or lower `cpu`",
        ),
        (
            "[limits]\ninline-body = '11MiB'",
            "7:15: `inline-body` is 11MiB but `body` is 10MiB; raise `body` or lower `inline-body`",
        ),
        (
            "instances = 'cold'",
            "6:13: `instances` must be one of `auto`, `fresh` and `warm`, not `cold`",
        ),
        (
            "labels = { tier = '-a' }",
            "6:19: `-a` is not a label: use 1 to 63 letters, digits, ., _ and -, with a letter or digit at both ends",
        ),
        (
            "pools = [{ name = 'default' }]",
            "6:10: pool `default` is there already; give this one another name",
        ),
        (
            "pools = [{ name = 'a' }, { name = 'a' }]",
            "6:26: pool `a` is there already; give this one another name",
        ),
        (
            "pools = [{ labels = {} }]",
            "6:10: `name` is missing in [[pools]]; add `name = \"high-performance\"`",
        ),
        ("pools = { name = 'a' }", "6:9: write `[[pools]]`: `pools` is a list of tables"),
        (
            "pools = [{ name = 'a', limits = { cache = '1MiB' } }]",
            "6:43: `cache` is a limit of the service, not of a pool; set it in [limits]",
        ),
        (
            "stores.sql = 'Auth-DB'",
            "6:14: `Auth-DB` is not a database name: use 1 to 63 characters of a-z, 0-9 and _, beginning with a letter, as in `auth_db`",
        ),
        ("stores.kv = 1", "6:13: `kv` must be true or false, not a whole number"),
        (
            "stores.sql = 'a_db'\nevents.out = ['a', 'b', 'a']",
            "7:25: `a` is in `out` twice; remove one",
        ),
        (
            "stores.sql = 'a_db'\nevents.out = ['A']",
            "7:15: `A` is not a topic: use 1 to 128 characters of a-z, 0-9, _, . and -, as in `user.registered`",
        ),
        (
            "stores.sql = 'a_db'\nevents.out = ['policy.changed']",
            "7:15: `policy.changed` is published by the host itself; remove it",
        ),
        (
            "stores.sql = 'a_db'\nevents.in = [{ topic = 'a' }, { topic = 'a' }]",
            "7:31: `a` is in [[events.in]] twice; remove one",
        ),
        (
            "stores.sql = 'a_db'\nevents.in = [{ topic = 'a', mode = 'once' }]",
            "7:36: `mode` must be one of `exactly-once` and `at-least-once`, not `once`",
        ),
        (
            "events.out = ['a']",
            "6:1: `out` in [events] needs a database of the service's own; add `sql = \"quote_db\"` under [stores]",
        ),
        ("calls.services = ['a', 'a']", "6:24: `a` is in `services` twice; remove one"),
        (
            "calls.services = ['B']",
            "6:19: `B` is not a service name: use 1 to 63 characters of a-z, 0-9 and -, beginning with a letter and not ending with -",
        ),
        (
            "[[calls.reserve]]\na = 1",
            "6:9: unknown key `reserve` in [calls]; known keys are `services`",
        ),
        (
            "egress = [{ host = 'https://a.com' }]",
            "6:20: `https://a.com` is not a host: write a name as `api.example.com`, `*.example.com` or an address, with `:port` if it is not the scheme's own, and no scheme or path",
        ),
        (
            "egress = [{ host = 'a.com' }, { host = 'A.com' }]",
            "6:31: `a.com` is in [[egress]] twice; remove one",
        ),
        (
            "[[egress]]\nhost = 'a.com'\n[[egress.pace]]\nkey = 'base'\nrate = 5\nper = '1s'",
            "9:7: unknown pace key `base`; use `path:2` (the second segment of the path, 1 to 16), `segment:app` (the first segment that begins with `app`), `credential` or `host`",
        ),
        (
            "[[egress]]\nhost = 'a.com'\n[[egress.pace]]\nkey = 'path:0'\nrate = 5\nper = '1s'",
            "9:7: unknown pace key `path:0`; use `path:2` (the second segment of the path, 1 to 16), `segment:app` (the first segment that begins with `app`), `credential` or `host`",
        ),
        (
            "[[egress]]\nhost = 'a.com'\n[[egress.pace]]\nkey = 'segment:'\nrate = 5\nper = '1s'",
            "9:7: unknown pace key `segment:`; use `path:2` (the second segment of the path, 1 to 16), `segment:app` (the first segment that begins with `app`), `credential` or `host`",
        ),
        (
            "[[egress]]\nhost = 'a.com'\n[[egress.pace]]\nkey = 'host'\nrate = 5",
            "8:1: `per` is missing in [[egress.pace]]; add `per = \"1s\"`",
        ),
        (
            "secrets.names = ['a b']",
            "6:18: `a b` is not a name of secrets: use 1 to 256 bytes without spaces, with a `*` only at the end, as in `connection/*`",
        ),
        (
            "grants.foreign-wasi-http = true",
            "6:1: `foreign-wasi-http` reaches nothing; add the hosts it calls as [[egress]]",
        ),
        (
            "jobs.a = {}",
            "6:1: [jobs] needs a database of the service's own; add `sql = \"quote_db\"` under [stores]",
        ),
        (
            "stores.sql = 'a_db'\njobs.A = {}",
            "7:6: `A` is not the name of a kind of job: use 1 to 63 characters of a-z, 0-9 and -, beginning with a letter",
        ),
        (
            "ticks.a = {}",
            "6:11: tick `a` never comes; add `every = \"1h\"` or `cron = \"0 3 * * *\"`",
        ),
        (
            "ticks.a = { every = '1h', cron = '0 3 * * *' }",
            "6:34: tick `a` has both `every` and `cron`; remove one",
        ),
        (
            "ticks.a = { cron = '0 3 * *' }",
            "6:20: `0 3 * *` is not a cron expression: five fields are expected (minute hour day month weekday), not 4",
        ),
        (
            "ticks.a = { every = '1x' }",
            "6:21: `1x` is not a duration: write a whole number with a unit, ms, s, m, h or d, as in `500ms`",
        ),
        ("slo.availability = 101", "6:20: `availability` must be from 50 to 100"),
        (
            "retention = [{ table = 'a', column = 'b', keep = '1d' }]",
            "6:14: [[retention]] needs a database; add `sql = \"quote_db\"` under [stores]",
        ),
        (
            "stores.sql = 'a_db'\nretention = [{ table = '_airhost_jobs', column = 'b', keep = '1d' }]",
            "7:24: `_airhost_jobs` is not a name of SQL: use 1 to 63 characters of a-z, 0-9 and _, beginning with a letter",
        ),
        ("config.a = 2024-01-01", "6:12: `a` has a date or time, which JSON has no value for"),
        (
            "config.a = [inf]",
            "6:12: `a` has a number that is not finite, which JSON has no value for",
        ),
    ] {
        check(lines, expect);
    }
}

#[test]
fn injection_rules_stay_within_egress_and_names() {
    let rule = |host: &str, header: &str, value: &str, secret: &str| {
        format!(
            "egress = [{{ host = 'a.com' }}, {{ host = 'c.com', scheme = 'http' }}]\nsecrets.names = ['k/*']\nsecrets.inject = [{{ host = '{host}', header = '{header}', value = '{value}', secret = '{secret}' }}]"
        )
    };
    manifest(&rule("a.com", "authorization", "Bearer {secret}", "k/{scope}"));
    for (rule, expect) in [
        (
            rule("b.com", "x", "{secret}", "k/a"),
            "8:28: `b.com` is not in [[egress]]; add it there, or remove this rule",
        ),
        (
            rule("c.com", "x", "{secret}", "k/a"),
            "8:28: a secret would go to `c.com` in the clear; use `scheme = \"https\"` in its [[egress]]",
        ),
        (
            rule("a.com", "host", "{secret}", "k/a"),
            "8:46: `host` is set by the host and cannot be injected",
        ),
        (rule("a.com", "a b", "{secret}", "k/a"), "8:46: `a b` is not the name of a header field"),
        (
            rule("a.com", "x", "Bearer", "k/a"),
            "8:59: `value` needs `{secret}` where the secret goes, as in `Bearer {secret}`",
        ),
        (
            rule("a.com", "x", "{secret}", "l/{scope}"),
            "8:80: `l/{scope}` is not covered by `names` in [secrets]; add `names = [\"l/*\"]`",
        ),
        (
            rule("a.com", "x", "{secret}", "{scope}/k"),
            "8:80: `{scope}/k` is not covered by `names` in [secrets]; add `names = [\"*\"]`",
        ),
    ] {
        check(&rule, expect);
    }
}

#[test]
fn all_faults_are_told_at_once() {
    assert_eq!(
        faults("name = 'A'\nport = 80\ncontract = '1'\n[limits]\nmemory = 1\nqueue = 'x'\n"),
        [
            "1:1: `team` is missing at the top level; add `team = \"platform\"`",
            "1:1: `description` is missing at the top level; add `description = \"Answers with a quote.\"`",
            "1:8: `A` is not a service name: use 1 to 63 characters of a-z, 0-9 and -, beginning with a letter and not ending with -",
            "2:8: `port` must be from 1024 to 65535",
            "3:12: `1` is not a contract version: write two numbers as in `0.1`",
            "5:10: `memory` must be a text in quotes, not a whole number",
            "6:9: `queue` must be a whole number, not a text",
        ]
    );
}

#[test]
fn columns_count_characters_and_syntax_has_places() {
    check(
        "config = { a = 'ä', B = 1 }",
        "6:21: `B` is not the name of a config key: use 1 to 63 characters of a-z, 0-9 and -, beginning with a letter",
    );
    let faults = faults("name = \nteam = 'a'\nteam = 'b'\n");
    assert!(faults.len() >= 2 && faults[0].starts_with("1:8:"), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("3:1:")), "{faults:?}");
}

#[test]
fn what_is_too_large_or_absent_is_refused() {
    let large = format!("{HEAD}#{}", "x".repeat(MAX_TEXT));
    assert_eq!(faults(&large), ["1:1: a manifest is at most 256 KiB"]);
    let error = Manifest::load(Path::new("/nonexistent/service.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/service.toml:1:1: the file cannot be read")
    );
}

#[test]
fn no_text_makes_the_parser_panic() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..3_000 {
        let mut text = EVERYTHING.as_bytes().to_vec();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..3) {
                0 => text[at] = b"[]{}=\"'\n.,#*0a-"[random.random_range(0..15)],
                1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        // Whatever it is, it is a manifest that round-trips or a list of faults.
        match Manifest::parse("service.toml", &String::from_utf8_lossy(&text)) {
            Ok(manifest) => assert!(Manifest::parse("canonical", &manifest.to_toml()).is_ok()),
            Err(error) => assert!(!error.problems.is_empty()),
        }
    }
}
