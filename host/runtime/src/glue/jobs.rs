//! `service/jobs`.

use std::sync::Arc;

use airhost_core::codes;
use airhost_jobs::{JobSpec, JobState, Jobs, RunningJob};
use wasmtime::component::Resource;

use super::{Answer, sql::Transaction};
use crate::{
    bindings::imports::pyairtable::service::jobs::{self as wit, HostJob},
    state::State,
    trace::spanned,
};

/// A job that is running.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Job(pub(crate) Arc<RunningJob>);

impl State {
    fn jobs(&self) -> airhost_core::Result<&Jobs> {
        self.service
            .environment
            .jobs
            .as_ref()
            .ok_or_else(|| codes::IMPORT_DENIED.error("the manifest has no [jobs]"))
    }

    fn job(&self, this: &Resource<Job>) -> wasmtime::Result<&RunningJob> {
        Ok(&self.table.get(this)?.0)
    }
}

impl wit::Host for State {
    async fn put(
        &mut self,
        spec: wit::JobSpec,
        tx: Option<Resource<Transaction>>,
    ) -> Answer<String> {
        let tx = self.transaction(tx.as_ref())?;
        let spec = JobSpec {
            kind: spec.kind,
            key: spec.key,
            run_at: spec.run_at,
            payload: spec.payload,
            payload_version: spec.payload_version,
            max_attempts: spec.max_attempts,
            attrs: spec.attrs,
        };
        let jobs = self.jobs()?.clone();
        let span = self.publication(&spec.kind);
        let outer = std::mem::replace(&mut self.call.context.trace, span.context());
        let id = spanned(span, jobs.put(spec, &self.call.context, tx.as_deref())).await;
        self.call.context.trace = outer;
        Ok(id?)
    }

    async fn cancel(&mut self, id: String, tx: Option<Resource<Transaction>>) -> Answer<bool> {
        let tx = self.transaction(tx.as_ref())?;
        Ok(self.jobs()?.cancel(&id, &self.call.context, tx.as_deref()).await?)
    }

    async fn status(&mut self, id: String) -> Answer<wit::JobStatus> {
        let status = self.jobs()?.status(&id, &self.call.context).await?;
        Ok(wit::JobStatus {
            id: status.id,
            kind: status.kind,
            state: match status.state {
                JobState::Waiting => wit::JobState::Waiting,
                JobState::Running => wit::JobState::Running,
                JobState::Succeeded => wit::JobState::Succeeded,
                JobState::Failed => wit::JobState::Failed,
                JobState::Cancelled => wit::JobState::Cancelled,
            },
            attempt: status.attempt,
            progress: status.progress,
            note: status.note,
            output: status.output,
            last_error: status.last_error,
        })
    }
}

impl HostJob for State {
    fn id(&mut self, this: Resource<Job>) -> wasmtime::Result<String> {
        Ok(self.job(&this)?.id.clone())
    }

    fn kind(&mut self, this: Resource<Job>) -> wasmtime::Result<String> {
        Ok(self.job(&this)?.kind.clone())
    }

    fn key(&mut self, this: Resource<Job>) -> wasmtime::Result<Option<String>> {
        Ok(self.job(&this)?.key.clone())
    }

    fn payload(&mut self, this: Resource<Job>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.job(&this)?.payload.clone())
    }

    fn payload_version(&mut self, this: Resource<Job>) -> wasmtime::Result<u32> {
        Ok(self.job(&this)?.payload_version)
    }

    fn attempt(&mut self, this: Resource<Job>) -> wasmtime::Result<u32> {
        Ok(self.job(&this)?.attempt)
    }

    async fn progress(&mut self, this: Resource<Job>, percent: u8, note: String) -> Answer<()> {
        let job = Arc::clone(&self.table.get(&this)?.0);
        Ok(job.progress(percent, &note).await?)
    }

    fn drop(&mut self, this: Resource<Job>) -> wasmtime::Result<()> {
        self.delete(this)?;
        Ok(())
    }
}
