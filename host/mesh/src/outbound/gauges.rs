//! What the mesh knows of destinations, mirrors and decisions, as metrics.

use airhost_telemetry::metrics::{Collect, Kind, Page};

use super::{DestinationStatus, inside::Inside};
use crate::destination::{Cause, EndpointStatus};

/// What is counted of a destination at a moment.
type Count = fn(&DestinationStatus) -> u64;

impl Collect for Inside {
    fn collect(&self, page: &mut Page) {
        self.render_destinations(page);
        self.render_mirrors(page);
        page.family(
            "airhost_policy_decisions_total",
            Kind::Counter,
            "Decisions of policies: denials, and what AUDIT rules and dry runs have seen.",
        );
        for decision in self.decisions.list() {
            let labels = [
                ("service", decision.service.as_str()),
                ("decision", decision.kind.as_str()),
                ("policy", &*decision.policy),
            ];
            page.sample(&labels, decision.count);
        }
    }
}

impl Inside {
    fn render_destinations(&self, page: &mut Page) {
        let destinations = self.destinations();
        let of = |status: &DestinationStatus| {
            let subset = status.subset.as_deref().unwrap_or_default().to_owned();
            (status.service.to_string(), subset)
        };
        page.family(
            "airhost_destination_endpoints",
            Kind::Gauge,
            "Endpoints of a destination, by whether they can be called.",
        );
        for status in &destinations {
            let (service, subset) = of(status);
            for (state, is) in STATES {
                let endpoints = status.endpoints.endpoints.iter();
                let count = endpoints.filter(|endpoint| state_of(endpoint) == is).count();
                let labels = [("destination", &*service), ("subset", &*subset), ("state", state)];
                page.sample(&labels, count);
            }
        }
        let families: [(&str, Kind, &str, Count); 5] = [
            ("airhost_destination_requests_active", Kind::Gauge, "Calls under way.", |status| {
                status.limits.requests.into()
            }),
            (
                "airhost_destination_requests_pending",
                Kind::Gauge,
                "Calls that wait for a place within the limits.",
                |status| status.limits.pending.into(),
            ),
            ("airhost_destination_retries_active", Kind::Gauge, "Retries under way.", |status| {
                status.limits.retries.into()
            }),
            (
                "airhost_destination_overflows_total",
                Kind::Counter,
                "Calls and retries that the limits refused.",
                |status| status.limits.overflows,
            ),
            (
                "airhost_destination_ejections_refused_total",
                Kind::Counter,
                "Times that maxEjectionPercent kept a failing endpoint in.",
                |status| status.endpoints.ejections.refused,
            ),
        ];
        for (name, kind, help, count) in families {
            page.family(name, kind, help);
            for status in &destinations {
                let (service, subset) = of(status);
                page.sample(&[("destination", &*service), ("subset", &*subset)], count(status));
            }
        }
        page.family(
            "airhost_destination_ejections_total",
            Kind::Counter,
            "Endpoints left out for a while, by cause.",
        );
        for status in &destinations {
            let (service, subset) = of(status);
            for (cause, count) in Cause::ALL.into_iter().zip(status.endpoints.ejections.ejected) {
                let cause = cause.as_str();
                let labels = [("destination", &*service), ("subset", &*subset), ("cause", cause)];
                page.sample(&labels, count);
            }
        }
    }

    fn render_mirrors(&self, page: &mut Page) {
        let counts = self.mirrors.counts();
        page.family(
            "airhost_mirrored_requests_total",
            Kind::Counter,
            "Copies of requests for mirrors, by what became of them.",
        );
        for (result, count) in [
            ("answered", counts.answered),
            ("failed", counts.failed),
            ("too-large", counts.too_large),
            ("too-many", counts.too_many),
            ("incomplete", counts.incomplete),
        ] {
            page.sample(&[("result", result)], count);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Available,
    Unhealthy,
    Ejected,
}

const STATES: [(&str, State); 3] =
    [("available", State::Available), ("unhealthy", State::Unhealthy), ("ejected", State::Ejected)];

fn state_of(endpoint: &EndpointStatus) -> State {
    match (endpoint.healthy, endpoint.ejected_since) {
        (false, _) => State::Unhealthy,
        (true, Some(_)) => State::Ejected,
        (true, None) => State::Available,
    }
}
