//! The rows of `tests/conformance/outlier.yaml`: outlier detection as Envoy does it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how much it has looked at"
)]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use airhost_mesh::destination::{
    Balancing, Endpoint, EndpointSet, EndpointSpec, EndpointStatus, Tried, TryResult,
};
use airhost_policy::traffic::Outlier;
use http::StatusCode;
use rand::{SeedableRng, rngs::StdRng};
use serde::Deserialize;
use tokio::time::Instant;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    source: String,
    settings: Settings,
    hosts: usize,
    script: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    #[serde(rename = "consecutive5xxErrors")]
    server_errors: u32,
    consecutive_gateway_errors: u32,
    consecutive_local_origin_failures: u32,
    split_external_local_origin_errors: bool,
    interval: f64,
    base_ejection_time: f64,
    max_ejection_percent: u32,
    min_health_percent: u32,
    outlier_detection_http_error_codes: Vec<u16>,
}

impl Default for Settings {
    /// Istio's.
    fn default() -> Self {
        Self {
            server_errors: 5,
            consecutive_gateway_errors: 0,
            consecutive_local_origin_failures: 5,
            split_external_local_origin_errors: false,
            interval: 10.0,
            base_ejection_time: 30.0,
            max_ejection_percent: 10,
            min_health_percent: 0,
            outlier_detection_http_error_codes: Vec::new(),
        }
    }
}

impl Settings {
    fn outlier(&self) -> Outlier {
        let unless_zero = |count: u32| (count > 0).then_some(count);
        let base = Duration::from_secs_f64(self.base_ejection_time);
        let codes = self.outlier_detection_http_error_codes.iter();
        Outlier {
            server_errors: unless_zero(self.server_errors),
            gateway_errors: unless_zero(self.consecutive_gateway_errors),
            local_failures: unless_zero(self.consecutive_local_origin_failures)
                .filter(|_| self.split_external_local_origin_errors),
            split: self.split_external_local_origin_errors,
            interval: Duration::from_secs_f64(self.interval),
            base_ejection: base,
            longest_ejection: base.max(Duration::from_secs(300)),
            most_ejected_percent: self.max_ejection_percent,
            least_healthy_percent: self.min_health_percent,
            error_codes: codes.map(|code| StatusCode::from_u16(*code).unwrap()).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: Option<f64>,
    #[serde(default)]
    remove: Vec<usize>,
    #[serde(default)]
    add: Vec<usize>,
    host: Option<usize>,
    #[serde(default)]
    results: Vec<Heard>,
    times: Option<usize>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Heard {
    Status(u16),
    Nothing(String),
}

impl Heard {
    fn result(&self) -> TryResult {
        match self {
            Self::Status(status) => TryResult::Answered(StatusCode::from_u16(*status).unwrap()),
            Self::Nothing(why) => match why.as_str() {
                "unconnected" => TryResult::Unconnected,
                "reset" => TryResult::Reset,
                "timeout" => TryResult::TimedOut,
                other => panic!("{other} is no result"),
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expect {
    ejected: Option<BTreeSet<usize>>,
    refused: Option<u64>,
    detected: Option<[u64; 3]>,
    multiplier: BTreeMap<usize, u32>,
    errors: BTreeMap<usize, [u32; 3]>,
    lasts: BTreeMap<usize, f64>,
    picked: Option<BTreeSet<usize>>,
}

/// A destination whose hosts have numbers.
struct Hosts {
    set: EndpointSet,
    there: BTreeSet<usize>,
    /// Endpoints that have been seen, as those who call them have.
    seen: BTreeMap<usize, Arc<Endpoint>>,
    began: Instant,
    random: StdRng,
}

impl Hosts {
    fn new(settings: &Settings, count: usize) -> Self {
        let balancing = Balancing { outlier: Some(settings.outlier()), ..Balancing::default() };
        let mut hosts = Self {
            set: EndpointSet::new(balancing, 0, None),
            there: (0..count).collect(),
            seen: BTreeMap::new(),
            began: Instant::now(),
            random: StdRng::seed_from_u64(7),
        };
        hosts.update();
        hosts
    }

    fn update(&mut self) {
        self.set.update(self.there.iter().map(|nth| EndpointSpec::local("n", &nth.to_string())));
        let all = self.picks();
        let gone = |nth: &usize| !self.there.contains(nth);
        let gone: Vec<_> = self.seen.keys().copied().filter(gone).collect();
        for nth in gone {
            self.seen.remove(&nth);
        }
        self.seen.extend(all);
    }

    /// Who is picked, out of more picks than it takes to find everybody.
    fn picks(&mut self) -> BTreeMap<usize, Arc<Endpoint>> {
        let tried = Tried::default();
        let pick = |_| {
            let picked = self.set.pick(None, &tried, &mut self.random)?;
            Some((number(&picked.spec().id), Arc::clone(picked.endpoint())))
        };
        (0..50 * self.there.len()).filter_map(pick).collect()
    }

    fn host(&self, nth: usize) -> EndpointStatus {
        let mut all = self.set.status().endpoints.into_iter();
        all.find(|endpoint| number(&endpoint.spec.id) == nth).unwrap()
    }

    async fn play(&mut self, step: &Step) {
        if let Some(at) = step.at {
            let at = self.began + Duration::from_secs_f64(at);
            tokio::time::advance(at.duration_since(Instant::now())).await;
        }
        if !step.remove.is_empty() || !step.add.is_empty() {
            for nth in &step.remove {
                assert!(self.there.remove(nth));
            }
            self.there.extend(&step.add);
            self.update();
        }
        for _ in 0..step.times.unwrap_or(1) {
            for heard in &step.results {
                let endpoint = &self.seen[&step.host.unwrap()];
                self.set.report(endpoint, heard.result());
            }
        }
    }

    fn check(&mut self, expect: &Expect, place: &str) {
        let status = self.set.status();
        let is_ejected = |endpoint: &&EndpointStatus| endpoint.ejected_since.is_some();
        let ejected: BTreeSet<usize> =
            status.endpoints.iter().filter(is_ejected).map(|e| number(&e.spec.id)).collect();
        if let Some(expected) = &expect.ejected {
            assert_eq!(&ejected, expected, "{place}: ejected");
        }
        if let Some(expected) = expect.refused {
            assert_eq!(status.ejections.refused, expected, "{place}: refused");
        }
        if let Some(expected) = expect.detected {
            assert_eq!(status.ejections.detected, expected, "{place}: detected");
        }
        for (nth, expected) in &expect.multiplier {
            assert_eq!(self.host(*nth).multiplier, *expected, "{place}: multiplier of {nth}");
        }
        for (nth, expected) in &expect.errors {
            assert_eq!(self.host(*nth).consecutive, *expected, "{place}: errors of {nth}");
        }
        for (nth, expected) in &expect.lasts {
            let left = self.host(*nth).ejected_for;
            let expected = Some(Duration::from_secs_f64(*expected));
            assert_eq!(left, expected, "{place}: how long {nth} stays out");
        }
        if let Some(expected) = &expect.picked {
            let picked: BTreeSet<usize> = self.picks().into_keys().collect();
            assert_eq!(&picked, expected, "{place}: picked");
        }
    }
}

fn number(id: &str) -> usize {
    id.strip_prefix("n/").unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn outlier_detection_is_envoys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/outlier.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Row> = serde_saphyr::from_str(&text).unwrap();
    let mut ids = HashSet::new();
    for row in &rows {
        assert!(ids.insert(&row.id), "{} is there twice", row.id);
        assert!(row.source.starts_with(['A', 'E', 'I']), "{}: {}", row.id, row.source);
        let mut hosts = Hosts::new(&row.settings, row.hosts);
        for (step, nth) in row.script.iter().zip(1..) {
            hosts.play(step).await;
            hosts.check(&step.expect, &format!("{}, step {nth}", row.id));
        }
    }
    assert!(rows.len() >= 40, "only {} rows", rows.len());
    println!("outlier: {} rows", rows.len());
}
