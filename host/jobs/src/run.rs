//! The border to what runs jobs and ticks: the runtime implements it.

use std::sync::Arc;

use airhost_core::{CorrelationId, Deadline, Result, ServiceName, Tenant, TraceContext};
use async_trait::async_trait;

/// Tells how far a run has come; the worker's side of [`RunningJob::progress`].
#[async_trait]
pub(crate) trait Progress: Send + Sync {
    async fn tell(&self, percent: u8, note: &str) -> Result<()>;
}

/// A job that is being run; mirrors the resource `job` of `wit/service/jobs.wit`.
pub struct RunningJob {
    /// UUIDv7.
    pub id: String,
    /// Listed in the manifest's `[jobs]`.
    pub kind: String,
    /// At most one waiting or running job of a kind and tenant has it.
    pub key: Option<String>,
    /// As it was put.
    pub payload: Vec<u8>,
    /// As it was put.
    pub payload_version: u32,
    /// As it was put.
    pub attrs: Vec<(String, String)>,
    /// 1 for the first try.
    pub attempt: u32,
    /// Whose data the job works on.
    pub tenant: Option<Tenant>,
    /// Subject of the user that caused it.
    pub actor: Option<String>,
    /// Names the work in logs; that of the call that put it.
    pub correlation: CorrelationId,
    /// Span of the call that put it.
    pub trace: TraceContext,
    /// When the run is given up: the manifest's deadline for the kind.
    pub deadline: Deadline,
    pub(crate) teller: Arc<dyn Progress>,
}

impl RunningJob {
    /// Tells progress (0 to 100; more is 100) and renews the lease.
    ///
    /// # Errors
    /// `jobs.lost` when the lease was lost or the job was cancelled: stop without a further
    /// effect. `jobs.unavailable` when the database does not answer.
    pub async fn progress(&self, percent: u8, note: &str) -> Result<()> {
        self.teller.tell(percent.min(100), note).await
    }
}

impl std::fmt::Debug for RunningJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Payload and attributes may hold personal data.
        f.debug_struct("RunningJob")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Runs jobs of a service.
#[async_trait]
pub trait RunJob: Send + Sync {
    /// Does the work and answers its output, at most 256 KiB. The future is dropped at the job's
    /// deadline, when the lease is lost and when the job is cancelled.
    ///
    /// # Errors
    /// The classes invalid, denied, not-found and unsupported fail the job at once; any other is
    /// tried again while attempts are left. `guest.no-revision` and `cancelled.shutdown` count no
    /// attempt.
    async fn run(&self, service: &ServiceName, job: Arc<RunningJob>) -> Result<Vec<u8>>;
}

/// Runs ticks of a service.
#[async_trait]
pub trait Tick: Send + Sync {
    /// Runs the tick that was due at `due_micros` (since the epoch, UTC). There is no tenant.
    ///
    /// # Errors
    /// As for [`RunJob::run`]; tried again until the next due time.
    async fn tick(&self, service: &ServiceName, name: &str, due_micros: i64) -> Result<()>;
}
