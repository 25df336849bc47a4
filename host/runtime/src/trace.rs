//! The spans of a service's work: the calls it serves, and what it asks of the host meanwhile.

mod statement;

use std::{borrow::Cow, future::Future, sync::Arc};

use airhost_core::{Call, CallContext, Caller, CorrelationId, Response, Result, TraceContext};
use airhost_telemetry::trace::{ActiveSpan, Kind, Status};
use http::Method;

use crate::{
    generation::{DEFAULT_POOL, Pool},
    service::Service,
    state::State,
};

/// The span of a request that the pool serves.
pub(crate) fn server(pool: &Pool, call: &Call) -> ActiveSpan {
    let context = &call.context;
    let name = method(call.request.method());
    let mut span = work(pool, Kind::Server, name, &context.trace, &context.correlation);
    if let Some(route) = &context.route {
        span.set("route", Arc::clone(&route.name));
    }
    if let Caller::Service { identity, .. } = &context.caller {
        span.set("mesh.peer", identity.as_str().to_owned());
    }
    span
}

/// The span of something that the pool does.
pub(crate) fn work(
    pool: &Pool,
    kind: Kind,
    name: impl Into<Cow<'static, str>>,
    parent: &TraceContext,
    correlation: &CorrelationId,
) -> ActiveSpan {
    let traces = &pool.loaded.service.telemetry.traces;
    described(traces.child(kind, name, parent, correlation), pool)
}

/// The span of a tick: with it a trace begins, which the context names already.
pub(crate) fn tick(pool: &Pool, name: &str, context: &CallContext) -> ActiveSpan {
    let traces = &pool.loaded.service.telemetry.traces;
    let (trace, correlation) = (&context.trace, &context.correlation);
    let span = traces.span(Kind::Tick, name.to_owned(), trace, [0; 8], correlation);
    described(span, pool)
}

/// Says who does it, and how.
fn described(span: ActiveSpan, pool: &Pool) -> ActiveSpan {
    let service = &pool.loaded.service;
    let mut span = span.service(&service.name);
    span.set("revision", Arc::clone(&service.revision_short));
    span.set("generation", i64::try_from(pool.generation).unwrap_or(i64::MAX));
    if &*pool.loaded.name != DEFAULT_POOL {
        span.set("pool", pool.loaded.name.to_string());
    }
    span.set("instance", if pool.loaded.mode.fresh { "fresh" } else { "warm" });
    span
}

impl Service {
    /// A span in a call, for what takes no longer than the span is held.
    pub(crate) fn span(
        &self,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: &TraceContext,
        correlation: &CorrelationId,
    ) -> ActiveSpan {
        self.telemetry.traces.child(kind, name, parent, correlation).service(&self.name)
    }
}

impl State {
    /// A span below that of the call.
    pub(crate) fn span(&self, kind: Kind, name: impl Into<Cow<'static, str>>) -> ActiveSpan {
        let context = &self.call.context;
        self.service.span(kind, name, &context.trace, &context.correlation)
    }

    /// The span of a statement: what it does, and with which table.
    pub(crate) fn statement(&self, text: &str) -> ActiveSpan {
        let recorded = self.service.telemetry.traces.records(&self.call.context.trace);
        let name = if recorded { statement::name(text) } else { Cow::Borrowed("") };
        self.span(Kind::Sql, name)
    }

    /// The span of something that goes on later, elsewhere: that is below it then.
    pub(crate) fn publication(&self, name: &str) -> ActiveSpan {
        let recorded = self.service.telemetry.traces.records(&self.call.context.trace);
        self.span(Kind::Publish, if recorded { name.to_owned() } else { String::new() })
    }
}

/// Awaits what the span stands for, and ends it.
pub(crate) async fn spanned<T>(
    span: ActiveSpan,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = work.await;
    span.end(status(&result));
    result
}

/// How work ended.
pub(crate) fn status<T>(result: &Result<T>) -> Status {
    match result {
        Ok(_) => Status::Ok,
        Err(error) => Status::Error(error.code.clone()),
    }
}

/// How a request ended.
pub(crate) fn http_status(result: &Result<Response>) -> Status {
    match result {
        Ok(response) => Status::Http(response.status().as_u16()),
        Err(error) => Status::Error(error.code.clone()),
    }
}

/// The method without an allocation; a client can make up any other.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}
