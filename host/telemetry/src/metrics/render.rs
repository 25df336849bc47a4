use std::{fmt::Write as _, sync::Arc, time::Duration};

use airhost_core::ServiceName;

use super::{
    DEPLOY_RESULTS, EdgeKey, EdgeMetrics, METHODS, Metrics, Protocol, Reporter, Security,
    ServiceMetrics, TRAPS,
    exposition::{self, Kind, Page},
    process,
    statuses::Statuses,
};
use crate::ResponseFlag;

impl Metrics {
    /// Everything in the Prometheus text format 0.0.4
    /// (`text/plain; version=0.0.4; charset=utf-8`).
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.family("airhost_build_info", Kind::Gauge, "The version of the host.");
        page.sample(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        process::render(&mut page);
        page.family(
            "airhost_log_lines_dropped_total",
            Kind::Counter,
            "Log lines dropped because the sink was too slow.",
        );
        page.sample("", self.log_lines_dropped.get());
        let services: Vec<_> = self.services.read().clone().into_iter().collect();
        render_services(&mut page, &services);
        let edges: Vec<_> = self.edges.read().values().cloned().collect();
        render_edges(&mut page, &edges);
        page.finish()
    }

    /// What concerns one service, in the same format: its own families, and the calls it reports.
    #[must_use]
    pub fn render_service(&self, name: &ServiceName) -> String {
        let mut page = Page::default();
        let service = self.services.read().get(name).cloned();
        if let Some(service) = service {
            render_services(&mut page, &[(name.clone(), service)]);
        }
        let edges: Vec<_> = self
            .edges
            .read()
            .iter()
            .filter(|((source, destination, reporter, ..), _)| match reporter {
                Reporter::Source => **source == *name.as_str(),
                Reporter::Destination => **destination == *name.as_str(),
            })
            .map(|(_, edge)| Arc::clone(edge))
            .collect();
        render_edges(&mut page, &edges);
        page.finish()
    }
}

pub(super) fn edge_labels((source, destination, reporter, security, protocol): &EdgeKey) -> String {
    let reporter = match reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    };
    let security = match security {
        Security::MutualTls => "mutual_tls",
        Security::None => "none",
        Security::Unknown => "unknown",
    };
    let protocol = match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    };
    let mut labels = format!("reporter=\"{reporter}\",source_workload=\"");
    exposition::escape(&mut labels, source);
    labels.push_str("\",destination_workload=\"");
    exposition::escape(&mut labels, destination);
    // Writing to a String cannot fail.
    let _ok = write!(
        labels,
        "\",connection_security_policy=\"{security}\",request_protocol=\"{protocol}\""
    );
    labels
}

type Named = (ServiceName, Arc<ServiceMetrics>);
/// Reads a gauge of a service.
type Read = fn(&ServiceMetrics) -> i64;

fn render_services(page: &mut Page, services: &[Named]) {
    page.family("http_requests_total", Kind::Counter, "Requests served, by method and status.");
    for (name, service) in services {
        for (method, table) in METHODS.iter().zip(&service.http.methods) {
            for (status, count) in table.get().into_iter().flat_map(|table| table.nonzero()) {
                let status = Statuses::label(status);
                page.sample(
                    &format!("service=\"{name}\",method=\"{method}\",status=\"{status}\""),
                    count,
                );
            }
        }
    }
    page.family(
        "http_request_duration_seconds",
        Kind::Histogram,
        "Time from the request's head to the response's end.",
    );
    for (name, service) in services {
        page.histogram(&format!("service=\"{name}\""), &service.http.duration);
    }
    let gauges: [(&str, &str, Read); 5] = [
        ("airhost_guest_instances_busy", "Instances at work now.", |s| {
            s.guest.instances_busy.get()
        }),
        ("airhost_guest_queue_depth", "Requests that wait for an instance.", |s| {
            s.guest.queue_depth.get()
        }),
        ("airhost_guest_memory_peak_bytes", "The largest linear memory an instance had.", |s| {
            s.guest.memory_peak.get()
        }),
        ("airhost_outbox_pending_events", "Events committed and not yet sent.", |s| {
            s.outbox.pending.get()
        }),
        ("db_pool_connections_max", "The most database connections there may be.", |s| {
            s.database.max.get()
        }),
    ];
    for (family, help, value) in gauges {
        page.family(family, Kind::Gauge, help);
        for (name, service) in services {
            page.sample(&format!("service=\"{name}\""), value(service));
        }
    }
    page.family(
        "airhost_outbox_lag_seconds",
        Kind::Gauge,
        "Age of the oldest event that is not yet sent.",
    );
    for (name, service) in services {
        page.sample(
            &format!("service=\"{name}\""),
            service.outbox.lag_millis.get() as f64 / 1000.0,
        );
    }
    page.family("db_pool_connections", Kind::Gauge, "Open database connections, by state.");
    for (name, service) in services {
        for (state, gauge) in [("busy", &service.database.busy), ("idle", &service.database.idle)] {
            page.sample(&format!("service=\"{name}\",state=\"{state}\""), gauge.get());
        }
    }
    page.family("airhost_guest_cpu_seconds_total", Kind::Counter, "CPU time spent in guest code.");
    for (name, service) in services {
        let seconds = Duration::from_nanos(service.guest.cpu_nanos.get()).as_secs_f64();
        page.sample(&format!("service=\"{name}\""), seconds);
    }
    page.family(
        "airhost_guest_log_lines_dropped_total",
        Kind::Counter,
        "Guests' log lines over their limits.",
    );
    for (name, service) in services {
        page.sample(&format!("service=\"{name}\""), service.guest.log_lines_dropped.get());
    }
    page.family(
        "airhost_guest_traps_total",
        Kind::Counter,
        "Instances that ended in an error, by its code.",
    );
    for (name, service) in services {
        for (code, counter) in TRAPS.iter().zip(&service.guest.traps) {
            page.sample(&format!("service=\"{name}\",code=\"{code}\""), counter.get());
        }
    }
    page.family("airhost_deploys_total", Kind::Counter, "Deploys, by result.");
    for (name, service) in services {
        for (result, counter) in DEPLOY_RESULTS.iter().zip(&service.deploys.0) {
            page.sample(&format!("service=\"{name}\",result=\"{result}\""), counter.get());
        }
    }
}

fn render_edges(page: &mut Page, edges: &[Arc<EdgeMetrics>]) {
    page.family("istio_requests_total", Kind::Counter, "Calls between services.");
    for edge in edges {
        for (flag, table) in ResponseFlag::ALL.iter().zip(&edge.flags) {
            for (status, count) in table.get().into_iter().flat_map(|table| table.nonzero()) {
                let status = Statuses::label(status);
                page.sample(
                    &format!(
                        "{},response_code=\"{status}\",response_flags=\"{flag}\"",
                        edge.labels
                    ),
                    count,
                );
            }
        }
    }
    page.family(
        "istio_request_duration_milliseconds",
        Kind::Histogram,
        "Duration of calls between services.",
    );
    for edge in edges {
        page.histogram(&edge.labels, &edge.duration);
    }
}
