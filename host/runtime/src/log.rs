//! Log lines of guests: bounded in number, and marked with who wrote them in which call.

use airhost_core::{CorrelationId, Tenant, TraceContext};
use airhost_telemetry::log::{GuestLine, Level};

use crate::service::Service;

/// The call that a line belongs to.
#[derive(Clone)]
pub(crate) struct LineContext {
    pub(crate) correlation: CorrelationId,
    pub(crate) trace: TraceContext,
    pub(crate) tenant: Option<Tenant>,
}

/// Writes a guest's line, unless nobody wants its level or the service has written enough. `fields` is JSON text by name.
pub(crate) fn write(
    service: &Service,
    context: &LineContext,
    level: Level,
    message: &str,
    fields: &[(String, String)],
) {
    if level < service.telemetry.logs.level(service.name.as_str()) {
        return;
    }
    if !service.log_rate.admit() {
        service.metrics.guest.log_lines_dropped.add(1);
        return;
    }
    // What the sink has no room for is counted there.
    let _taken = service.telemetry.logs.guest_line(&GuestLine {
        level,
        service: &service.name,
        revision: &service.revision_short,
        correlation: &context.correlation,
        trace: &context.trace,
        tenant: context.tenant.as_ref(),
        message,
        fields,
    });
}
