use std::time::Duration;

use airhost_core::ServiceName;

use super::{
    DEPLOY_RESULTS, METHODS, Metrics, ServiceMetrics, TRAPS,
    exposition::{Format, Kind, Page, label},
    process,
    statuses::Statuses,
};

impl Metrics {
    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(Format::Prometheus)
    }

    /// Everything.
    #[must_use]
    pub fn render_as(&self, format: Format) -> String {
        let mut page = Page::new(format);
        page.family("airhost_build_info", Kind::Gauge, "The version of the host.");
        page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        process::render(&mut page);
        page.family(
            "airhost_log_lines_dropped_total",
            Kind::Counter,
            "Log lines dropped because the sink was too slow.",
        );
        page.sample(&[], self.log_lines_dropped.get());
        let services: Vec<_> = self.services.read().clone().into_iter().collect();
        render_services(&mut page, &services);
        self.edges.render(&mut page, None);
        let collectors: Vec<_> =
            self.collectors.read().iter().filter_map(std::sync::Weak::upgrade).collect();
        for collector in collectors {
            collector.collect(&mut page);
        }
        page.finish()
    }

    /// What concerns one service, in the Prometheus text format: its own families, and the calls
    /// it reports.
    #[must_use]
    pub fn render_service(&self, name: &ServiceName) -> String {
        let mut page = Page::new(Format::Prometheus);
        let service = self.services.read().get(name).cloned();
        if let Some(service) = service {
            render_services(&mut page, &[(name.clone(), service)]);
        }
        self.edges.render(&mut page, Some(name));
        page.finish()
    }
}

/// The label that all families of a service have.
fn of(service: &ServiceName) -> String {
    let mut labels = String::new();
    label(&mut labels, "service", service.as_str());
    labels
}

type Named = (ServiceName, std::sync::Arc<ServiceMetrics>);
/// Reads a gauge of a service.
type Read = fn(&ServiceMetrics) -> i64;

fn render_services(page: &mut Page, services: &[Named]) {
    page.family("http_requests_total", Kind::Counter, "Requests served, by method and status.");
    for (name, service) in services {
        for (method, table) in METHODS.iter().zip(&service.http.methods) {
            for (status, count) in table.get().into_iter().flat_map(|table| table.nonzero()) {
                let status = Statuses::label(status);
                let labels =
                    [("service", name.as_str()), ("method", *method), ("status", &*status)];
                page.sample(&labels, count);
            }
        }
    }
    page.family(
        "http_request_duration_seconds",
        Kind::Histogram,
        "Time from the request's head to the response's end.",
    );
    for (name, service) in services {
        page.histogram(&of(name), &service.http.duration);
    }
    let gauges: [(&str, &str, Read); 4] = [
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
    ];
    for (family, help, value) in gauges {
        page.family(family, Kind::Gauge, help);
        for (name, service) in services {
            page.sample(&[("service", name.as_str())], value(service));
        }
    }
    page.family(
        "airhost_outbox_lag_seconds",
        Kind::Gauge,
        "Age of the oldest event that is not yet sent.",
    );
    for (name, service) in services {
        let seconds = service.outbox.lag_millis.get() as f64 / 1000.0;
        page.sample(&[("service", name.as_str())], seconds);
    }
    let with_database = || services.iter().filter(|(_, service)| service.database.max.get() > 0);
    page.family("db_pool_connections", Kind::Gauge, "Open database connections, by state.");
    for (name, service) in with_database() {
        for (state, gauge) in [("busy", &service.database.busy), ("idle", &service.database.idle)] {
            page.sample(&[("service", name.as_str()), ("state", state)], gauge.get());
        }
    }
    page.family(
        "db_pool_connections_max",
        Kind::Gauge,
        "The most database connections there may be.",
    );
    for (name, service) in with_database() {
        page.sample(&[("service", name.as_str())], service.database.max.get());
    }
    page.family("airhost_guest_cpu_seconds_total", Kind::Counter, "CPU time spent in guest code.");
    for (name, service) in services {
        let seconds = Duration::from_nanos(service.guest.cpu_nanos.get()).as_secs_f64();
        page.sample(&[("service", name.as_str())], seconds);
    }
    page.family(
        "airhost_guest_log_lines_dropped_total",
        Kind::Counter,
        "Guests' log lines over their limits.",
    );
    for (name, service) in services {
        page.sample(&[("service", name.as_str())], service.guest.log_lines_dropped.get());
    }
    page.family(
        "airhost_guest_traps_total",
        Kind::Counter,
        "Instances that ended in an error, by its code.",
    );
    for (name, service) in services {
        for (code, counter) in TRAPS.iter().zip(&service.guest.traps) {
            page.sample(&[("service", name.as_str()), ("code", code)], counter.get());
        }
    }
    page.family("airhost_deploys_total", Kind::Counter, "Deploys, by result.");
    for (name, service) in services {
        for (result, counter) in DEPLOY_RESULTS.iter().zip(&service.deploys.0) {
            page.sample(&[("service", name.as_str()), ("result", result)], counter.get());
        }
    }
}
