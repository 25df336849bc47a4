//! What a component exports, and so what the host can call: indices that are looked up once a
//! revision, and turned into functions once an instance.

use wasmtime::component::InstancePre;
use wasmtime_wasi_http::p2::bindings::ProxyIndices;

use crate::{
    bindings::{consumer, handler, job, lifecycle, subject, tick},
    state::State,
};

/// The exports of a component.
#[derive(Clone)]
pub(crate) struct Exports {
    pub(crate) handler: Option<handler::ExportsIndices>,
    pub(crate) consumer: Option<consumer::ExportsIndices>,
    pub(crate) job: Option<job::ExportsIndices>,
    pub(crate) tick: Option<tick::ExportsIndices>,
    pub(crate) lifecycle: Option<lifecycle::ExportsIndices>,
    pub(crate) subject: Option<subject::ExportsIndices>,
    pub(crate) wasi_http: Option<ProxyIndices>,
}

impl Exports {
    /// What the component exports. An interface that is there in another shape than the
    /// contract's is an error.
    pub(crate) fn of(pre: &InstancePre<State>) -> wasmtime::Result<Self> {
        let component = pre.component();
        let has = |interface: &str| component.get_export_index(None, interface).is_some();
        Ok(Self {
            handler: has("pyairtable:service/handler@0.1.0")
                .then(|| handler::ExportsIndices::new(pre))
                .transpose()?,
            consumer: has("pyairtable:events/consumer@0.1.0")
                .then(|| consumer::ExportsIndices::new(pre))
                .transpose()?,
            job: has("pyairtable:service/job-handler@0.1.0")
                .then(|| job::ExportsIndices::new(pre))
                .transpose()?,
            tick: has("pyairtable:service/tick-handler@0.1.0")
                .then(|| tick::ExportsIndices::new(pre))
                .transpose()?,
            lifecycle: has("pyairtable:service/lifecycle@0.1.0")
                .then(|| lifecycle::ExportsIndices::new(pre))
                .transpose()?,
            subject: has("pyairtable:service/subject-data@0.1.0")
                .then(|| subject::ExportsIndices::new(pre))
                .transpose()?,
            wasi_http: has("wasi:http/incoming-handler@0.2.0")
                .then(|| ProxyIndices::new(pre))
                .transpose()?,
        })
    }
}
