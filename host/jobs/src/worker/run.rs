//! One run of a job.

use std::{sync::Arc, time::Duration};

use airhost_core::{Clock, Deadline, Error, ErrorClass, Result, codes};
use airhost_storage::sql::{Database, Value};
use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};

use super::{Claimed, Worker};
use crate::{
    RunningJob,
    jobs::{MOST_BYTES, unavailable},
    run::Progress,
};

/// Kept of a kind that the manifest does not list any more.
const UNLISTED_DEADLINE: Duration = Duration::from_secs(60);
/// Longest note, in characters.
const NOTE: usize = 1_000;

/// A lease on a job, and where it is written.
struct Lease {
    id: String,
    token: String,
    database: Arc<dyn Database>,
    clock: Clock,
    length: Duration,
    timeout: Duration,
    /// Told once the lease is gone.
    lost: Notify,
}

impl Lease {
    /// Renews it and writes what else is given.
    async fn renew(&self, told: Option<(u8, &str)>) -> Result<()> {
        let length = i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX);
        let mut params = vec![
            Value::Uuid(self.id.clone()),
            Value::Text(self.token.clone()),
            Value::Timestamp(self.clock.now_micros().saturating_add(length)),
        ];
        let mut also = "";
        if let Some((percent, note)) = told {
            also = ", progress = $4, note = $5";
            params.push(Value::Bigint(i64::from(percent)));
            params.push(Value::Text(note.chars().filter(|c| *c != '\0').take(NOTE).collect()));
        }
        let sql =
            format!("UPDATE _airhost_jobs SET lease_until = $3{also} WHERE id = $1 AND lease = $2");
        let deadline = Deadline::after(self.timeout);
        match self.database.host_execute(&sql, params, deadline).await {
            Ok(0) => {
                self.lost.notify_one();
                Err(codes::JOBS_LOST.error("the job was cancelled, or another run has it"))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(job = self.id, %error, "a lease cannot be renewed now");
                Err(unavailable())
            }
        }
    }

    /// Renews it again and again; returns once it is gone.
    async fn keep(&self) {
        let mut until = Instant::now() + self.length;
        loop {
            let asleep = tokio::time::sleep(self.length / 3);
            tokio::select! {
                () = self.lost.notified() => return,
                () = asleep => {}
            }
            match self.renew(None).await {
                Ok(()) => until = Instant::now() + self.length,
                Err(error) if codes::JOBS_LOST.is(&error) => return,
                // Another worker may take it from then on.
                Err(_) if Instant::now() >= until => return,
                Err(_) => {}
            }
        }
    }
}

#[async_trait]
impl Progress for Lease {
    async fn tell(&self, percent: u8, note: &str) -> Result<()> {
        self.renew(Some((percent, note))).await
    }
}

/// How a run ended.
enum End {
    Done(Vec<u8>),
    Failed(Error),
    /// The lease is gone: nothing may be written.
    Lost,
}

impl Worker {
    /// Runs a claimed job and writes how it ended.
    pub(super) async fn work(&self, job: Claimed) {
        let (attempt, most, kind) = (job.attempt, job.max_attempts, job.kind.clone());
        let lease = Arc::new(Lease {
            id: job.id.clone(),
            token: job.lease.clone(),
            database: Arc::clone(&self.jobs.database),
            clock: self.jobs.clock.clone(),
            length: self.config.lease,
            timeout: self.config.timeout.min(self.config.lease / 3),
            lost: Notify::new(),
        });
        let end = if attempt > most {
            // Its last run was cut off, and there is none left.
            End::Failed(codes::JOBS_LOST.error("the node that ran the job went away"))
        } else {
            self.attempt(job, &lease).await
        };
        match &end {
            End::Done(_) => self.count(|status| status.succeeded += 1),
            End::Failed(_) => self.count(|status| status.failed += 1),
            End::Lost => self.count(|status| status.lost += 1),
        }
        if let End::Failed(error) = &end {
            tracing::warn!(service = %self.jobs.service, job = lease.id, kind, attempt, %error, "a job failed");
        }
        self.finish(&lease, &end, attempt, most).await;
    }

    async fn attempt(&self, job: Claimed, lease: &Arc<Lease>) -> End {
        let time = self.jobs.kinds.get(&job.kind).map_or(UNLISTED_DEADLINE, |rule| rule.deadline);
        let deadline = Deadline::after(time);
        let running = Arc::new(RunningJob {
            id: job.id,
            kind: job.kind,
            key: job.key,
            payload: job.payload,
            payload_version: job.payload_version,
            attrs: job.attrs,
            attempt: job.attempt,
            tenant: job.tenant,
            actor: job.actor,
            correlation: job.correlation,
            trace: job.trace,
            deadline,
            teller: Arc::clone(lease) as Arc<dyn Progress>,
        });
        let run = self.runner.run(&self.jobs.service, running);
        tokio::select! {
            biased;
            () = lease.keep() => End::Lost,
            () = self.cut.cancelled() => End::Failed(codes::CANCELLED_SHUTDOWN.error("the node stops")),
            result = tokio::time::timeout_at(deadline.instant(), run) => match result {
                Ok(Ok(output)) if output.len() > MOST_BYTES => {
                    End::Failed(codes::JOBS_TOO_LARGE.error("a job's output is at most 256 KiB"))
                }
                Ok(Ok(output)) => End::Done(output),
                Ok(Err(error)) => End::Failed(error),
                Err(_) => End::Failed(codes::DEADLINE_EXCEEDED.error("the job's time ran out")),
            }
        }
    }

    /// Writes the end of a run. While the database does not answer it is tried again until the
    /// lease is over; then the job runs once more.
    async fn finish(&self, lease: &Lease, end: &End, attempt: u32, most: u32) {
        let now = self.now();
        let mut params = vec![Value::Uuid(lease.id.clone()), Value::Text(lease.token.clone())];
        let set = match end {
            End::Lost => return,
            End::Done(output) => {
                params.extend([Value::Timestamp(now), Value::Bytes(output.clone())]);
                "state = 'succeeded', ended_at = $3, output = $4, progress = 100, active_key = NULL,
                    last_error = NULL"
            }
            End::Failed(error) => {
                let untried =
                    codes::GUEST_NO_REVISION.is(error) || codes::CANCELLED_SHUTDOWN.is(error);
                let last_error = Value::Text(error.code.chars().take(200).collect());
                if untried || (attempt < most && !is_final(error)) {
                    let wait = self
                        .config
                        .backoff
                        .after(attempt)
                        .max(error.retry_after.unwrap_or_default());
                    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                    let counted = i64::from(attempt) - i64::from(untried);
                    params.extend([
                        Value::Timestamp(now.saturating_add(wait)),
                        last_error,
                        Value::Bigint(counted),
                    ]);
                    "state = 'waiting', run_at = $3, last_error = $4, attempt = $5"
                } else {
                    let counted = Value::Bigint(i64::from(attempt.min(most)));
                    params.extend([Value::Timestamp(now), last_error, counted]);
                    "state = 'failed', ended_at = $3, last_error = $4, attempt = $5, active_key = NULL"
                }
            }
        };
        let sql = format!(
            "UPDATE _airhost_jobs SET {set}, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2"
        );
        let give_up = Instant::now() + self.config.lease;
        let mut failures = 0;
        loop {
            let database = &self.jobs.database;
            match database.host_execute(&sql, params.clone(), self.deadline()).await {
                Ok(0) => return self.count(|status| status.lost += 1),
                Ok(_) => return,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(job = lease.id, %error, "the end of a job cannot be written now");
                    tokio::time::sleep(self.config.pause.after(failures)).await;
                    if Instant::now() >= give_up {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether trying again cannot help.
fn is_final(error: &Error) -> bool {
    matches!(
        error.class,
        ErrorClass::Invalid | ErrorClass::Denied | ErrorClass::NotFound | ErrorClass::Unsupported
    )
}
