//! Ticks: once for each due time in the whole cluster, never overlapping, missed ones once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use airhost_core::{Backoff, Clock, Deadline, Error, Result, ServiceName, codes};
use airhost_storage::sql::{Columns, Database, Value};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Schedule, Tick};

/// How ticks are run.
#[derive(Clone, Debug)]
pub struct TicksConfig {
    /// The schedules by name.
    pub schedules: BTreeMap<String, Schedule>,
    /// Time for one run.
    pub deadline: Duration,
    /// A run whose lease is not renewed for so long is taken over.
    pub lease: Duration,
    /// Others may have run a tick: the table is looked at so often at least.
    pub every: Duration,
    /// Waits between the tries of a tick that failed, and while the database cannot be used.
    pub backoff: Backoff,
    /// Time for one statement.
    pub timeout: Duration,
    /// Says what is due.
    pub clock: Clock,
}

impl TicksConfig {
    /// The defaults of the platform for these schedules.
    #[must_use]
    pub fn new(schedules: BTreeMap<String, Schedule>) -> Self {
        Self {
            schedules,
            deadline: Duration::from_secs(60),
            lease: Duration::from_secs(30),
            every: Duration::from_secs(60),
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(300)),
            timeout: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}

/// What was seen of one tick on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickStatus {
    /// Runs that ended well.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// The last due time that was run, in microseconds since the epoch.
    pub last_due: Option<i64>,
    /// The last failure; none once a run ended well.
    pub last_error: Option<String>,
}

/// The ticks of one service.
#[derive(Clone)]
pub struct Ticks {
    service: ServiceName,
    config: Arc<TicksConfig>,
    database: Arc<dyn Database>,
    runner: Arc<dyn Tick>,
    status: Arc<Mutex<BTreeMap<String, TickStatus>>>,
}

/// A due time that this node has the lease of.
struct Claim {
    due: i64,
    lease: String,
}

impl Ticks {
    /// The ticks of a service, remembered in its own database.
    #[must_use]
    pub fn new(
        service: ServiceName,
        config: TicksConfig,
        database: Arc<dyn Database>,
        runner: Arc<dyn Tick>,
    ) -> Self {
        Self { service, config: Arc::new(config), database, runner, status: Arc::default() }
    }

    /// What was seen of each tick on this node.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, TickStatus> {
        self.status.lock().clone()
    }

    /// Runs ticks until told to stop. A run that is under way is finished, but not longer than
    /// its deadline.
    pub async fn run(self, stop: CancellationToken) {
        let loops =
            self.config.schedules.iter().map(|(name, schedule)| self.follow(name, schedule, &stop));
        futures_util::future::join_all(loops).await;
    }

    async fn follow(&self, name: &str, schedule: &Schedule, stop: &CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let wait = match self.step(name, schedule).await {
                Ok(wait) => {
                    failures = 0;
                    wait
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(service = %self.service, tick = name, %error, failures, "a tick failed");
                    self.note(name, |status| {
                        status.failed += 1;
                        status.last_error = Some(error.to_string());
                    });
                    self.config.backoff.after(failures).max(error.retry_after.unwrap_or_default())
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Runs the tick if it is due and nobody else does; answers how long until the next look.
    async fn step(&self, name: &str, schedule: &Schedule) -> Result<Duration> {
        let now = self.config.clock.now_micros();
        let last = self.last_due(name, now).await?;
        let Some(due) = schedule.latest(last, now) else {
            return Ok(self.until(schedule.after(now.max(last))));
        };
        let Some(claim) = self.claim(name, last, due).await? else {
            // Someone else runs it; should they go away, their lease ends.
            return Ok(self.config.lease.min(self.config.every));
        };
        let result = self.run_claimed(name, &claim).await;
        match &result {
            Ok(()) => self.note(name, |status| {
                status.succeeded += 1;
                status.last_due = Some(due);
                status.last_error = None;
            }),
            Err(error) if codes::JOBS_LOST.is(error) => return result.map(|()| Duration::ZERO),
            Err(_) => {}
        }
        // What cannot get better by trying again waits for its next time.
        let over = match &result {
            Ok(()) => true,
            Err(error) => !may_help(error),
        };
        self.release(name, &claim, over).await?;
        result.map(|()| self.until(schedule.after(self.config.clock.now_micros())))
    }

    /// The last due time that was run. A tick that is new counts from now on.
    async fn last_due(&self, name: &str, now: i64) -> Result<i64> {
        let select = "SELECT last_due FROM _airhost_ticks WHERE name = $1";
        let text = || Value::Text(name.to_owned());
        let insert =
            "INSERT INTO _airhost_ticks (name, last_due) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        for _ in 0..2 {
            let rows = self.database.host_query(select, vec![text()], self.soon()).await?.rows;
            if let Some(row) = rows.into_iter().next() {
                return Columns::of(row).bigint();
            }
            self.database
                .host_execute(insert, vec![text(), Value::Timestamp(now)], self.soon())
                .await?;
        }
        Ok(now)
    }

    async fn claim(&self, name: &str, last: i64, due: i64) -> Result<Option<Claim>> {
        let lease = Uuid::new_v4().to_string();
        let now = self.config.clock.now_micros();
        // The condition on `last_due` is what makes it once: who comes second finds it moved on.
        let sql = "UPDATE _airhost_ticks SET lease = $3, lease_until = $4
            WHERE name = $1 AND last_due = $2 AND (lease_until IS NULL OR lease_until <= $5)";
        let params = vec![
            Value::Text(name.to_owned()),
            Value::Timestamp(last),
            Value::Text(lease.clone()),
            Value::Timestamp(self.lease_end(now)),
            Value::Timestamp(now),
        ];
        let claimed = self.database.host_execute(sql, params, self.soon()).await? > 0;
        Ok(claimed.then_some(Claim { due, lease }))
    }

    async fn run_claimed(&self, name: &str, claim: &Claim) -> Result<()> {
        let run = self.runner.tick(&self.service, name, claim.due);
        tokio::select! {
            biased;
            () = self.keep(name, claim) => {
                Err(codes::JOBS_LOST.error("the tick's lease was lost; another node runs it"))
            }
            result = tokio::time::timeout(self.config.deadline, run) => result.unwrap_or_else(|_| {
                Err(codes::DEADLINE_EXCEEDED.error("the tick's time ran out"))
            }),
        }
    }

    /// Renews the lease; returns once it is lost.
    async fn keep(&self, name: &str, claim: &Claim) {
        let mut until = Instant::now() + self.config.lease;
        let sql = "UPDATE _airhost_ticks SET lease_until = $3 WHERE name = $1 AND lease = $2";
        loop {
            tokio::time::sleep(self.config.lease / 3).await;
            let params = vec![
                Value::Text(name.to_owned()),
                Value::Text(claim.lease.clone()),
                Value::Timestamp(self.lease_end(self.config.clock.now_micros())),
            ];
            match self.database.host_execute(sql, params, self.soon()).await {
                Ok(0) => return,
                Ok(_) => until = Instant::now() + self.config.lease,
                Err(_) if Instant::now() >= until => return,
                Err(error) => {
                    tracing::warn!(service = %self.service, tick = name, %error, "a tick's lease cannot be renewed now");
                }
            }
        }
    }

    /// Gives the lease back; `over` says that the due time is done with.
    async fn release(&self, name: &str, claim: &Claim, over: bool) -> Result<()> {
        let mut params = vec![Value::Text(name.to_owned()), Value::Text(claim.lease.clone())];
        let mut also = "";
        if over {
            also = ", last_due = $3";
            params.push(Value::Timestamp(claim.due));
        }
        let sql = format!(
            "UPDATE _airhost_ticks SET lease = NULL, lease_until = NULL{also} WHERE name = $1 AND lease = $2"
        );
        self.database.host_execute(&sql, params, self.soon()).await.map(drop)
    }

    fn until(&self, due: Option<i64>) -> Duration {
        let Some(due) = due else {
            return self.config.every;
        };
        let wait = due.saturating_sub(self.config.clock.now_micros());
        Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(self.config.every)
    }

    fn lease_end(&self, now: i64) -> i64 {
        now.saturating_add(i64::try_from(self.config.lease.as_micros()).unwrap_or(i64::MAX))
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut TickStatus)) {
        change(self.status.lock().entry(name.to_owned()).or_default());
    }

    fn soon(&self) -> Deadline {
        Deadline::after(self.config.timeout)
    }
}

/// Whether trying again can help.
fn may_help(error: &Error) -> bool {
    use airhost_core::ErrorClass::{Denied, Invalid, NotFound, Unsupported};
    !matches!(error.class, Invalid | Denied | NotFound | Unsupported)
}

impl std::fmt::Debug for Ticks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticks")
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
