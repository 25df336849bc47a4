//! What a store carries: the state of one instance and of the call it is in.

use std::{any::Any, sync::Arc};

use airhost_core::{CallContext, Caller, Deadline, Response};
use airhost_storage::idempotency::Token;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

use crate::{
    glue::http::Incoming, limits::MemoryMeter, log::LineContext, service::Service, wasi,
    wasi_http::Hooks,
};

/// The data of a store.
pub(crate) struct State {
    pub(crate) service: Arc<Service>,
    pub(crate) call: CallState,
    /// Handles of the guest. WASI's are in it too.
    pub(crate) table: ResourceTable,
    /// Handles of the platform that are open: a warm instance that keeps one is retired.
    pub(crate) open: usize,
    /// Made when the guest asks for something of WASI the first time; most calls do not.
    wasi: Option<Box<Wasi>>,
    pub(crate) memory: MemoryMeter,
}

/// WASI's part of an instance.
pub(crate) struct Wasi {
    context: WasiCtx,
    /// Of the call that the instance is in.
    current: wasi::Current,
    pub(crate) http: WasiHttpCtx,
    pub(crate) hooks: Hooks,
}

/// The call that an instance is in.
pub(crate) struct CallState {
    /// Which call of the instance it is: handles of an earlier one are worth nothing.
    pub(crate) number: u32,
    pub(crate) context: CallContext,
    pub(crate) handling: Option<Handling>,
    /// Write transactions that are open.
    pub(crate) open_writes: usize,
    /// Transactions that are open.
    pub(crate) transactions: usize,
    /// Calls under way.
    pub(crate) pending: usize,
    /// The right to store this request's answer.
    pub(crate) idempotency: Option<Token>,
    /// Whether a commit has stored it.
    pub(crate) answer_stored: bool,
}

/// The HTTP request of a call.
pub(crate) struct Handling {
    pub(crate) request: Incoming,
    /// Taken when the response starts.
    pub(crate) respond: Option<oneshot::Sender<Response>>,
}

impl CallState {
    pub(crate) fn new(context: CallContext, handling: Option<Handling>) -> Self {
        Self {
            number: 0,
            context,
            handling,
            open_writes: 0,
            transactions: 0,
            pending: 0,
            idempotency: None,
            answer_stored: false,
        }
    }

    /// The call that a log line belongs to.
    pub(crate) fn line_context(&self) -> LineContext {
        LineContext {
            correlation: self.context.correlation.clone(),
            trace: self.context.trace,
            tenant: self.context.tenant.clone(),
        }
    }

    /// The state of an instance that is in no call.
    pub(crate) fn idle() -> Self {
        Self::new(CallContext::root(Caller::Host, Deadline::after(std::time::Duration::ZERO)), None)
    }
}

impl State {
    pub(crate) fn new(service: Arc<Service>, call: CallState) -> Self {
        let memory = MemoryMeter::new(service.limits.memory);
        Self { service, call, table: ResourceTable::new(), open: 0, wasi: None, memory }
    }

    /// Puts the instance into a call.
    pub(crate) fn enter(&mut self, call: CallState) {
        let number = self.call.number.wrapping_add(1);
        self.call = CallState { number, ..call };
        if let Some(wasi) = &mut self.wasi {
            *wasi.current.lock() = self.call.line_context();
            wasi.hooks.context = self.call.context.clone();
        }
    }

    /// A handle for the guest.
    pub(crate) fn push<T: Any + Send>(
        &mut self,
        value: T,
    ) -> Result<Resource<T>, ResourceTableError> {
        let handle = self.table.push(value)?;
        self.open += 1;
        Ok(handle)
    }

    /// What the handle stood for, which the guest has given back.
    pub(crate) fn delete<T: Any>(&mut self, handle: Resource<T>) -> Result<T, ResourceTableError> {
        let value = self.table.delete(handle)?;
        self.open = self.open.saturating_sub(1);
        Ok(value)
    }

    /// WASI's part, and the table with its handles.
    pub(crate) fn wasi(&mut self) -> (&mut Wasi, &mut ResourceTable) {
        let wasi = self.wasi.get_or_insert_with(|| {
            let current = Arc::new(Mutex::new(self.call.line_context()));
            Box::new(Wasi {
                context: wasi::context(&self.service, &current),
                current,
                http: WasiHttpCtx::new(),
                hooks: Hooks {
                    service: Arc::clone(&self.service),
                    context: self.call.context.clone(),
                },
            })
        });
        (wasi, &mut self.table)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.memory.tell(&self.service.metrics.guest);
    }
}
