//! Running jobs: claimed with a lease, renewed while they run, tried again when they fail.

mod claim;
mod run;

use std::{sync::Arc, time::Duration};

use airhost_core::{Backoff, Deadline, Result};
use airhost_storage::sql::{Columns, Value, sweep};
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::claim::Claimed;
use crate::{Jobs, RunJob};

/// How a worker works.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Jobs that run at once.
    pub concurrency: usize,
    /// A job whose lease is not renewed for so long is run again. The worker renews the leases of
    /// what it runs three times as often.
    pub lease: Duration,
    /// The table is looked at so often even if nothing has woken the worker.
    pub every: Duration,
    /// Waits between the tries of a job.
    pub backoff: Backoff,
    /// Waits while the database cannot be used.
    pub pause: Backoff,
    /// Time for one statement.
    pub timeout: Duration,
    /// Time that what runs has to finish after the worker is told to stop.
    pub drain: Duration,
    /// Ended jobs are kept so long.
    pub retention: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            lease: Duration::from_secs(30),
            every: Duration::from_secs(5),
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(3_600)),
            pause: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
            timeout: Duration::from_secs(5),
            drain: Duration::from_secs(20),
            retention: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

/// What a worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Jobs that run now.
    pub running: u64,
    /// Runs that ended well.
    pub succeeded: u64,
    /// Runs that failed, whether they are tried again or not.
    pub failed: u64,
    /// Runs that lost their lease or were cancelled.
    pub lost: u64,
    /// What last kept the worker from claiming.
    pub last_error: Option<String>,
}

/// Runs the jobs of one service. Several may work on one database: a job is claimed by one.
#[derive(Clone)]
pub struct Worker {
    jobs: Jobs,
    runner: Arc<dyn RunJob>,
    config: WorkerConfig,
    status: Arc<Mutex<WorkerStatus>>,
    /// Cuts off what still runs when the time to drain is over.
    cut: CancellationToken,
}

impl Worker {
    /// The worker of a service's jobs.
    #[must_use]
    pub fn new(jobs: Jobs, runner: Arc<dyn RunJob>, config: WorkerConfig) -> Self {
        Self { jobs, runner, config, status: Arc::default(), cut: CancellationToken::new() }
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.status.lock().clone()
    }

    /// Runs jobs until told to stop; then lets what runs finish, and gives back what does not.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut failures = 0_u32;
        let mut housekeeping = Instant::now();
        while !stop.is_cancelled() {
            self.status.lock().running = running.len() as u64;
            let wait = match self.fill(&mut running, &mut housekeeping).await {
                Ok(wait) => {
                    failures = 0;
                    wait
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.status.lock().last_error = Some(error.to_string());
                    tracing::warn!(service = %self.jobs.service, %error, failures, "jobs cannot be claimed now");
                    self.config.pause.after(failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.jobs.wake.notified(), if failures == 0 => {}
                Some(ended) = running.join_next() => log_panic(ended),
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.drain(running).await;
    }

    /// Claims as many jobs as there is room for and answers how long to wait for the next one.
    async fn fill(
        &self,
        running: &mut JoinSet<()>,
        housekeeping: &mut Instant,
    ) -> Result<Duration> {
        if *housekeeping <= Instant::now() {
            let (database, keep) = (self.jobs.database.as_ref(), self.config.retention);
            let now = self.jobs.clock.now_micros();
            sweep(database, "_airhost_jobs", "id", "ended_at", keep, now, self.deadline()).await?;
            *housekeeping = Instant::now() + Duration::from_secs(600);
        }
        while let Some(ended) = running.try_join_next() {
            log_panic(ended);
        }
        let room = self.config.concurrency.saturating_sub(running.len());
        if room == 0 {
            return Ok(self.config.every);
        }
        let claimed = self.claim(room).await?;
        let full = claimed.len() == room;
        for job in claimed {
            let worker = self.clone();
            running.spawn(async move { worker.work(job).await });
        }
        if full { Ok(self.config.every) } else { self.until_next().await }
    }

    /// How long until the next job or the next lease is due.
    async fn until_next(&self) -> Result<Duration> {
        let sql = "SELECT min(run_at) FROM _airhost_jobs WHERE state = 'waiting'";
        let rows = self.jobs.database.host_query(sql, Vec::new(), self.deadline()).await?.rows;
        let due = Columns::of(rows.into_iter().next().unwrap_or_default()).optional_bigint()?;
        let Some(due) = due else {
            return Ok(self.config.every);
        };
        let wait = due.saturating_sub(self.jobs.clock.now_micros());
        Ok(Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(self.config.every))
    }

    async fn drain(&self, mut running: JoinSet<()>) {
        for time in [self.config.drain, self.config.timeout] {
            let finish = async {
                while let Some(ended) = running.join_next().await {
                    log_panic(ended);
                }
            };
            if tokio::time::timeout(time, finish).await.is_ok() {
                return;
            }
            self.cut.cancel();
        }
        let count = running.len();
        running.shutdown().await;
        tracing::warn!(service = %self.jobs.service, count,
            "jobs could not be given back; they run again once their leases are over");
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.config.timeout)
    }

    fn count(&self, change: impl FnOnce(&mut WorkerStatus)) {
        change(&mut self.status.lock());
    }

    fn now(&self) -> i64 {
        self.jobs.clock.now_micros()
    }

    fn lease_end(&self) -> Value {
        let lease = i64::try_from(self.config.lease.as_micros()).unwrap_or(i64::MAX);
        Value::Timestamp(self.now().saturating_add(lease))
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a job's run was cut off; it runs again once its lease is over");
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("jobs", &self.jobs)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
