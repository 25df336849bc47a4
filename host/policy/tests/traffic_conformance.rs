//! Runs the tables of `tests/conformance` that are about traffic. Each row has resources as a user
//! writes them, a call, and what must come of it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use airhost_policy::{
    Finding, MeshConfig, Snapshot, Workload,
    traffic::{
        Action, Destination, DestinationPolicy, HttpRoute, LoadBalancer, Matched, Outcome,
        RouteQuery, Routed, Traffic,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance"))
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn table<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let rows: Vec<T> =
        serde_saphyr::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!rows.is_empty(), "{file} has no rows");
    rows
}

fn compile(resources: &str) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
    Snapshot::compile([("policies.yaml", resources)], &MeshConfig::default())
        .map_err(|error| error.findings)
}

fn traffic(id: &str, resources: &str) -> Snapshot {
    match compile(resources) {
        Ok((snapshot, _)) => snapshot,
        Err(findings) => panic!("{id}: {findings:?}"),
    }
}

/// Runs what is checked of each row, and says at the end which failed.
#[expect(clippy::print_stdout, reason = "how many rows ran is the report of a suite")]
fn run<R>(suite: &str, rows: Vec<R>, id: impl Fn(&R) -> String, check: impl Fn(&R) -> usize) {
    let mut cases = 0;
    let mut failed = Vec::new();
    let count = rows.len();
    for row in rows {
        let id = id(&row);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&row))) {
            Ok(checked) => cases += checked,
            Err(_) => failed.push(id),
        }
    }
    println!("{suite}: {count} rows, {cases} cases");
    assert!(failed.is_empty(), "{suite}: {} of {count} rows failed: {failed:?}", failed.len());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "Request::default_host")]
    host: String,
    #[serde(default = "Request::default_port")]
    port: u16,
    #[serde(default = "Request::default_method")]
    method: String,
    #[serde(default = "Request::default_scheme")]
    scheme: String,
    authority: Option<String>,
    #[serde(default = "Request::default_path")]
    path: String,
    query: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    claims: Option<serde_json::Value>,
    caller: Option<Caller>,
    /// Of a million, for the choice between destinations.
    #[serde(default)]
    roll: u64,
}

impl Request {
    fn default_host() -> String {
        "auth-service".to_owned()
    }

    fn default_port() -> u16 {
        80
    }

    fn default_method() -> String {
        "GET".to_owned()
    }

    fn default_scheme() -> String {
        "http".to_owned()
    }

    fn default_path() -> String {
        "/".to_owned()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// `name: value` lines.
fn headers(lines: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// What a route row expects; what is left out is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteExpect {
    /// `default`, `no route` or the route's full name.
    route: String,
    resource: Option<String>,
    /// `host`, `host/subset`, `host:port` or `host:port/subset`, without `.svc.cluster.local`.
    to: Option<String>,
    /// The destination's view: `authority path?query`.
    sees: Option<String>,
    request_headers: Option<Vec<String>>,
    /// Those of an answer that had `old: 1`.
    response_headers: Option<Vec<String>>,
    timeout: Option<String>,
    attempts: Option<u32>,
    ignore_previous: Option<bool>,
    /// `per-million milliseconds`.
    delay: Option<String>,
    /// `per-million status`, or `per-million grpc code`.
    abort: Option<String>,
    /// `destination per-million`.
    mirrors: Option<Vec<String>>,
    /// `status location`.
    redirect: Option<String>,
    /// `status body`.
    direct: Option<String>,
    /// Fields of the answer to a preflight; `none` if it is forwarded.
    preflight: Option<Vec<String>>,
    /// Fields that are added for a browser.
    decorated: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    resources: String,
    cases: Vec<RouteCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteCase {
    request: Request,
    expect: RouteExpect,
}

fn with_query<T>(request: &Request, check: impl FnOnce(&RouteQuery<'_>) -> T) -> T {
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let fields = headers(&request.headers);
    let caller = request.caller.as_ref().map(|caller| Workload {
        service: "caller".parse().unwrap(),
        namespace: caller.namespace.clone().unwrap_or_else(|| "pyairtable".to_owned()),
        labels: caller.labels.clone(),
    });
    check(&RouteQuery {
        caller: caller.as_ref(),
        host: &request.host,
        port: request.port,
        method: &method,
        scheme: &request.scheme,
        authority: request.authority.as_deref().unwrap_or(&request.host),
        path: &request.path,
        query: request.query.as_deref(),
        headers: &fields,
        claims: request.claims.as_ref(),
    })
}

fn destination_text(destination: &Destination) -> String {
    let mut text = destination.host.trim_end_matches(".svc.cluster.local").to_owned();
    if let Some(port) = destination.port {
        text.push_str(&format!(":{port}"));
    }
    if let Some(subset) = &destination.subset {
        text.push_str(&format!("/{subset}"));
    }
    text
}

/// A number of a million spread over all numbers.
fn roll(of_a_million: u64) -> u64 {
    (u64::MAX / 1_000_000) * of_a_million + u64::MAX / 2_000_000
}

fn check_route(id: &str, request: &Request, routed: &Routed, expect: &RouteExpect) {
    let (route, matched) = match routed {
        Routed::Default => {
            assert_eq!("default", expect.route, "{id}");
            return;
        }
        Routed::NoMatch(resource) => {
            assert_eq!("no route", expect.route, "{id}");
            assert_eq!(&**resource, expect.resource.as_deref().unwrap_or(resource), "{id}");
            return;
        }
        Routed::Route(route, matched) => (route, *matched),
    };
    assert_eq!(route.full_name(matched), expect.route, "{id}");
    if let Some(resource) = &expect.resource {
        assert_eq!(&*route.resource, resource, "{id}");
    }
    check_action(id, request, route, matched, expect);
    if let Some(timeout) = &expect.timeout {
        assert_eq!(&format!("{:?}", route.timeout), timeout, "{id}");
    }
    if let Some(attempts) = expect.attempts {
        assert_eq!(route.retries.attempts, attempts, "{id}");
    }
    if let Some(ignore) = expect.ignore_previous {
        assert_eq!(route.retries.ignore_previous, ignore, "{id}");
    }
    if let Some(delay) = &expect.delay {
        let (share, delayed) = route.fault.delay.unwrap();
        assert_eq!(&format!("{} {}", share.per_million, delayed.as_millis()), delay, "{id}");
    }
    if let Some(abort) = &expect.abort {
        let (share, with) = route.fault.abort.unwrap();
        let with = match with {
            airhost_policy::traffic::Abort::Http(status) => status.as_u16().to_string(),
            airhost_policy::traffic::Abort::Grpc(code) => format!("grpc {code}"),
        };
        assert_eq!(&format!("{} {with}", share.per_million), abort, "{id}");
    }
    if let Some(mirrors) = &expect.mirrors {
        let text = |mirror: &airhost_policy::traffic::Mirror| {
            format!("{} {}", destination_text(&mirror.destination), mirror.share.per_million)
        };
        assert_eq!(&route.mirrors.iter().map(text).collect::<Vec<_>>(), mirrors, "{id}");
    }
    if let Some(preflight) = &expect.preflight {
        let cors = route.cors.as_ref().unwrap();
        let answer = with_query(request, |q| cors.preflight(q.method, q.headers));
        let answer = answer.map_or_else(|| vec!["none".to_owned()], |answer| lines(&answer));
        assert_eq!(&answer, preflight, "{id}");
    }
    if let Some(decorated) = &expect.decorated {
        let mut answer = HeaderMap::new();
        let origin = headers(&request.headers).get("origin").cloned();
        route.cors.as_ref().unwrap().decorate(origin.as_ref(), &mut answer);
        assert_eq!(&lines(&answer), decorated, "{id}");
    }
}

fn check_action(
    id: &str,
    request: &Request,
    route: &HttpRoute,
    matched: Matched,
    expect: &RouteExpect,
) {
    match &route.action {
        Action::Forward(forward) => {
            let destination = forward.pick(roll(request.roll));
            if let Some(to) = &expect.to {
                assert_eq!(&destination_text(destination), to, "{id}");
            }
            if let Some(sees) = &expect.sees {
                let sent = request.authority.as_deref().unwrap_or(&request.host);
                let authority = route.authority(destination);
                let authority = authority.map_or(sent, |value| value.to_str().unwrap());
                let rewrite = route.rewrite.as_ref();
                let path = rewrite.and_then(|rewrite| rewrite.path(&request.path, matched.uri));
                let path = path.as_deref().unwrap_or(&request.path);
                assert_eq!(&format!("{authority} {path}"), sees, "{id}");
            }
            let changed =
                |start: HeaderMap, of: [&airhost_policy::traffic::HeaderOperations; 2]| {
                    let mut fields = start;
                    for operations in of {
                        operations.apply(&mut fields);
                    }
                    lines(&fields)
                };
            if let Some(fields) = &expect.request_headers {
                let of = [&route.headers.request, &destination.headers.request];
                assert_eq!(&changed(headers(&request.headers), of), fields, "{id}");
            }
            if let Some(fields) = &expect.response_headers {
                let of = [&route.headers.response, &destination.headers.response];
                assert_eq!(&changed(headers(&["old: 1".to_owned()]), of), fields, "{id}");
            }
        }
        Action::Redirect(redirect) => {
            let location = with_query(request, |query| redirect.location(query));
            let text = format!("{} {location}", redirect.status.as_u16());
            assert_eq!(Some(&text), expect.redirect.as_ref(), "{id}");
        }
        Action::DirectResponse(response) => {
            let body = String::from_utf8_lossy(&response.body);
            let text = format!("{} {body}", response.status.as_u16());
            assert_eq!(Some(&text), expect.direct.as_ref(), "{id}");
        }
    }
}

#[test]
fn routes() {
    for file in ["routes.yaml", "matching.yaml", "actions.yaml"] {
        run(
            file,
            table::<RouteRow>(file),
            |row| row.id.clone(),
            |row| {
                let snapshot = traffic(&row.id, &row.resources);
                for (index, case) in row.cases.iter().enumerate() {
                    let routed = with_query(&case.request, |query| snapshot.traffic().route(query));
                    let id = format!("{}[{index}]", row.id);
                    check_route(&id, &case.request, &routed, &case.expect);
                }
                row.cases.len()
            },
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    resources: String,
    /// Of ten thousand calls whose rolls are spread evenly.
    shares: BTreeMap<String, u32>,
}

#[test]
fn weights() {
    run(
        "weights.yaml",
        table::<WeightRow>("weights.yaml"),
        |row| row.id.clone(),
        |row| {
            let snapshot = traffic(&row.id, &row.resources);
            let request: Request = serde_json::from_str("{}").unwrap();
            let routed = with_query(&request, |query| snapshot.traffic().route(query));
            let Routed::Route(route, _) = routed else { panic!("{}: {routed:?}", row.id) };
            let Action::Forward(forward) = &route.action else { panic!("{}", row.id) };
            let mut shares = BTreeMap::new();
            for nth in 0..10_000 {
                *shares.entry(destination_text(forward.pick(roll(nth * 100 + 50)))).or_default() +=
                    1;
            }
            assert_eq!(shares, row.shares, "{}", row.id);
            1
        },
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    /// The `retries` block; the default policy without.
    retries: Option<String>,
    cases: Vec<RetryCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryCase {
    #[serde(default = "Request::default_method")]
    method: String,
    #[serde(default)]
    headers: Vec<String>,
    /// A status, or the name of an outcome.
    outcome: String,
    /// Those of the answer.
    #[serde(default)]
    answer: Vec<String>,
    retry: bool,
}

#[test]
fn retries() {
    run(
        "retries.yaml",
        table::<RetryRow>("retries.yaml"),
        |row| row.id.clone(),
        |row| {
            let block = row.retries.as_ref().map_or_else(String::new, |block| {
                format!("    retries: {{{}}}\n", block.trim().replace('\n', ", "))
            });
            let resources = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec:\n  hosts: [auth-service]\n  http:\n  - route: [{{destination: {{host: auth-service}}}}]\n{block}"
            );
            let snapshot = traffic(&row.id, &resources);
            let request: Request = serde_json::from_str("{}").unwrap();
            let routed = with_query(&request, |query| snapshot.traffic().route(query));
            let Routed::Route(route, _) = routed else { panic!("{}: {routed:?}", row.id) };
            for case in &row.cases {
                let answer = headers(&case.answer);
                let outcome = match case.outcome.as_str() {
                    "connect failure" => Outcome::ConnectFailure,
                    "reset" => Outcome::Reset { request_sent: true },
                    "reset before request" => Outcome::Reset { request_sent: false },
                    "refused stream" => Outcome::RefusedStream,
                    "per-try timeout" => Outcome::PerTryTimeout,
                    "overflow" => Outcome::Overflow,
                    status => Outcome::Answer {
                        status: StatusCode::from_bytes(status.as_bytes()).unwrap(),
                        headers: &answer,
                    },
                };
                let method = Method::from_bytes(case.method.as_bytes()).unwrap();
                let retry = route.retries.may_retry(&method, &headers(&case.headers), &outcome);
                let id = format!("{}: {} {}", row.id, case.method, case.outcome);
                assert_eq!(retry, case.retry, "{id}");
            }
            row.cases.len()
        },
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    resources: String,
    cases: Vec<DestinationCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationCase {
    #[serde(default = "DestinationCase::default_client")]
    client: String,
    #[serde(default = "Request::default_host")]
    host: String,
    subset: Option<String>,
    #[serde(default = "Request::default_port")]
    port: u16,
    /// Lines of [`policy_text`] that must be there; `missing` for a subset that is not.
    expect: Vec<String>,
}

impl DestinationCase {
    fn default_client() -> String {
        "pyairtable".to_owned()
    }
}

/// A policy in lines, one a setting, so that rows name what they are about.
fn policy_text(policy: &DestinationPolicy) -> Vec<String> {
    let mut lines = Vec::new();
    let limits = &policy.limits;
    for (name, value) in [
        ("connections", limits.connections),
        ("pending", limits.pending),
        ("requests", limits.requests),
        ("requests per connection", limits.requests_per_connection),
        ("retries", limits.retries),
        ("streams", limits.streams),
    ] {
        lines.push(value.map_or(format!("no limit of {name}"), |value| format!("{name} {value}")));
    }
    lines.push(format!("connect timeout {:?}", limits.connect_timeout));
    lines.push(format!("idle timeout {:?}", limits.idle_timeout));
    lines.push(format!("connection age {:?}", limits.connection_age));
    lines.push(match &policy.load_balancer {
        LoadBalancer::ConsistentHash(hash) => {
            format!("hash {:?} {}", hash.key, hash.minimum_ring_size)
        }
        other => format!("{other:?}"),
    });
    let locality = &policy.locality;
    lines.push(format!(
        "locality {} {:?} {:?}",
        locality.enabled, locality.failover, locality.priority
    ));
    match &policy.outlier {
        None => lines.push("no outlier detection".to_owned()),
        Some(outlier) => {
            lines.push(format!("5xx {:?}", outlier.server_errors));
            lines.push(format!("gateway {:?}", outlier.gateway_errors));
            lines.push(format!("local {:?} split {}", outlier.local_failures, outlier.split));
            lines.push(format!("interval {:?}", outlier.interval));
            lines.push(format!(
                "ejection {:?} to {:?}",
                outlier.base_ejection, outlier.longest_ejection
            ));
            lines.push(format!("most ejected {} %", outlier.most_ejected_percent));
            lines.push(format!("least healthy {} %", outlier.least_healthy_percent));
            let codes: Vec<u16> = outlier.error_codes.iter().map(StatusCode::as_u16).collect();
            lines.push(format!("codes {codes:?}"));
        }
    }
    lines.push(match &policy.tls {
        None => "no tls".to_owned(),
        Some(tls) => format!("tls {tls:?}"),
    });
    lines.push(match &policy.retry_budget {
        None => "no retry budget".to_owned(),
        Some(budget) => format!("retry budget {} % at least {}", budget.percent, budget.least),
    });
    lines.push(format!("labels {:?}", policy.labels));
    lines.push(format!("rules {:?}", policy.resources));
    lines.push(format!("ignore previous {}", policy.default_retries.ignore_previous));
    lines
}

#[test]
fn destinations() {
    let file = "destinations.yaml";
    run(
        file,
        table::<DestinationRow>(file),
        |row| row.id.clone(),
        |row| {
            let snapshot = traffic(&row.id, &row.resources);
            for (index, case) in row.cases.iter().enumerate() {
                let found = snapshot.traffic().destination(
                    &case.client,
                    &case.host,
                    case.subset.as_deref(),
                    case.port,
                );
                let lines = match &found {
                    Ok(policy) => policy_text(policy),
                    Err(_) => vec!["missing".to_owned()],
                };
                for line in &case.expect {
                    let id = format!("{}[{index}]", row.id);
                    assert!(lines.contains(line), "{id}: no `{line}` in {lines:#?}");
                }
            }
            row.cases.len()
        },
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutsideRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    resources: String,
    cases: Vec<OutsideCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutsideCase {
    host: String,
    #[serde(default = "OutsideCase::default_port")]
    port: u16,
    from: Option<String>,
    /// `none`, or a line of [`entry_text`] that must be there.
    entry: Option<Vec<String>>,
    /// `none`, or name, threshold, recovery, trials, key and failures.
    breaker: Option<String>,
    /// Name, key, requests, time and pause of each.
    limits: Option<Vec<String>>,
}

impl OutsideCase {
    fn default_port() -> u16 {
        443
    }
}

fn entry_text(traffic: &Traffic, host: &str, port: u16) -> Vec<String> {
    let Some(entry) = traffic.service_entry(host, port) else { return vec!["none".to_owned()] };
    let port = entry.port(port).unwrap();
    let mut lines = vec![
        entry.resource.to_string(),
        format!("{:?} to {}", port.protocol, port.target),
        format!("{:?}", entry.resolution),
        format!("in mesh {}", entry.in_mesh),
        format!("private {}", entry.allow_private),
        format!("names {:?}", entry.subject_alt_names),
    ];
    lines.extend(entry.endpoints.iter().map(|endpoint| {
        let (address, to) = (&endpoint.address, endpoint.port(port));
        format!("{address:?}:{to} weight {} {:?}", endpoint.weight, endpoint.labels)
    }));
    lines
}

#[test]
fn hosts_outside() {
    let file = "outside.yaml";
    run(
        file,
        table::<OutsideRow>(file),
        |row| row.id.clone(),
        |row| {
            let snapshot = traffic(&row.id, &row.resources);
            let traffic = snapshot.traffic();
            for (index, case) in row.cases.iter().enumerate() {
                let id = format!("{}[{index}]", row.id);
                let from = case.from.as_ref().map(|name| name.parse().unwrap());
                if let Some(expect) = &case.entry {
                    let lines = entry_text(traffic, &case.host, case.port);
                    for line in expect {
                        assert!(lines.contains(line), "{id}: no `{line}` in {lines:#?}");
                    }
                }
                if let Some(expect) = &case.breaker {
                    let text = traffic.breaker(from.as_ref(), &case.host).map_or_else(
                        || "none".to_owned(),
                        |breaker| {
                            let settings = &breaker.settings;
                            let mut failures = Vec::new();
                            for (name, counts) in [
                                ("connect", settings.failures.connect),
                                ("timeout", settings.failures.timeout),
                                ("5xx", settings.failures.server_error),
                            ] {
                                failures.extend(counts.then(|| name.to_owned()));
                            }
                            let statuses = &settings.failures.statuses;
                            failures.extend(statuses.iter().map(|s| s.as_u16().to_string()));
                            let key =
                                breaker.key.as_ref().map_or("-".to_owned(), ToString::to_string);
                            format!(
                                "{} {} {:?} {} {key} {}",
                                breaker.name,
                                settings.threshold,
                                settings.recovery,
                                settings.trials,
                                failures.join(",")
                            )
                        },
                    );
                    assert_eq!(&text, expect, "{id}");
                }
                if let Some(expect) = &case.limits {
                    let mut lines = Vec::new();
                    for limit in traffic.egress_limits(from.as_ref(), &case.host) {
                        for rate in &limit.limits {
                            let pause = rate.pause_after_429;
                            let pause = pause.map_or("-".to_owned(), |pause| format!("{pause:?}"));
                            let (key, requests, per) = (&rate.key, rate.requests, rate.per);
                            lines.push(format!("{} {key} {requests} {per:?} {pause}", limit.name));
                        }
                    }
                    assert_eq!(&lines, expect, "{id}");
                }
            }
            row.cases.len()
        },
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokenRow {
    id: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    resources: String,
    /// All findings, as `line:column: sentence`, warnings with `warning: ` before the sentence.
    expect: Vec<String>,
}

#[test]
fn broken() {
    for (file, refused) in [("broken-traffic.yaml", true), ("warnings-traffic.yaml", false)] {
        run(
            file,
            table::<BrokenRow>(file),
            |row| row.id.clone(),
            |row| {
                let (findings, was_refused) = match compile(&row.resources) {
                    Ok((_, findings)) => (findings, false),
                    Err(findings) => (findings, true),
                };
                let lines: Vec<String> = findings
                    .iter()
                    .map(|finding| finding.to_string().replace("policies.yaml:", ""))
                    .collect();
                assert_eq!(lines, row.expect, "{}", row.id);
                assert_eq!(was_refused, refused, "{}", row.id);
                1
            },
        );
    }
}

/// The plan's files as they are, with the subsets that its `VirtualService` names.
#[test]
fn the_migration_plan() {
    let files = ["virtual-service.yaml", "destination-rule.yaml", "destination-rule-subsets.yaml"];
    let read = |file: &str| (file.to_owned(), text(&format!("migration-plan/{file}")));
    let compile = |files: &[&str]| {
        Snapshot::compile(files.iter().map(|file| read(file)), &MeshConfig::default())
    };
    let (snapshot, warnings) = compile(&files).unwrap();
    let traffic = snapshot.traffic();
    let request = |lines: &[&str]| Request {
        host: "airtable-connector".to_owned(),
        headers: lines.iter().map(ToString::to_string).collect(),
        ..serde_json::from_str("{}").unwrap()
    };
    for (fields, subset, delayed) in
        [(&["priority: high"][..], "high-performance", 0), (&["priority: low"], "standard", 1_000)]
    {
        let Routed::Route(route, _) = with_query(&request(fields), |query| traffic.route(query))
        else {
            panic!("{fields:?} has no route");
        };
        let Action::Forward(forward) = &route.action else { panic!("{fields:?}") };
        let destination = forward.pick(0);
        assert_eq!(destination.subset.as_deref(), Some(subset));
        assert_eq!(route.fault.delay.map_or(0, |(share, _)| share.per_million), delayed);
        let policy =
            traffic.destination("pyairtable", &destination.host, Some(subset), 80).unwrap();
        assert_eq!(policy.labels, BTreeMap::from([("pool".to_owned(), subset.to_owned())]));
        let lines = policy_text(&policy);
        for line in [
            "connections 100",
            "pending 50",
            "requests per connection 10",
            "5xx Some(5)",
            "gateway Some(5)",
            "interval 30s",
            "ejection 30s to 300s",
            "most ejected 50 %",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:#?}");
        }
    }
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    // Its DestinationRule alone has no subsets, which an applied set would notice call by call.
    let error = compile(&files[..2]).unwrap_err();
    let places: Vec<u64> = error
        .findings
        .iter()
        .filter(|finding| finding.message.contains("defines the subset"))
        .map(|finding| finding.place.line)
        .collect();
    assert_eq!(places, [17, 22]);
}
