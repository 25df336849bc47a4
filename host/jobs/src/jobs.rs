//! Putting, cancelling and watching jobs of a service.

use std::{sync::Arc, time::Duration};

use airhost_core::{CallContext, Clock, Error, Result, ServiceName, Tenant, codes};
use airhost_storage::sql::{Columns, Database, Rows, Transaction, Value};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{JobSpec, JobState, JobStatus, Kinds};

/// Largest payload with its attributes, and largest output, in bytes.
pub(crate) const MOST_BYTES: usize = 256 * 1024;
/// Time for one statement outside a transaction.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest key, in bytes.
const LONGEST_KEY: usize = 512;

/// The jobs of one service. Cloning it is cheap.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) service: ServiceName,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) clock: Clock,
    pub(crate) wake: Arc<Notify>,
}

impl Jobs {
    /// The jobs of a service, in its own database; its [`Worker`](crate::Worker) runs them.
    #[must_use]
    pub fn new(
        service: ServiceName,
        kinds: Kinds,
        database: Arc<dyn Database>,
        clock: Clock,
    ) -> Self {
        Self { service, kinds: Arc::new(kinds), database, clock, wake: Arc::default() }
    }

    /// Puts a job and answers its id, or that of the waiting or running job that has its key.
    /// With a transaction the job exists if and only if that commits; without one it is durable
    /// when this returns. It keeps tenant, actor and correlation of the call.
    ///
    /// # Errors
    /// `jobs.kind`, `jobs.too-large`, `jobs.unavailable`; `tx.closed`, `tx.expired` and
    /// `tx.read-only` of the transaction.
    pub async fn put(
        &self,
        spec: JobSpec,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<String> {
        let Some(rule) = self.kinds.get(&spec.kind) else {
            return Err(codes::JOBS_KIND.error(format!(
                "{} may not put jobs of the kind {:.80}",
                self.service, spec.kind
            )));
        };
        let attrs_len: usize =
            spec.attrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let key_len = spec.key.as_ref().map_or(0, String::len);
        if spec.payload.len() + attrs_len > MOST_BYTES || key_len > LONGEST_KEY {
            return Err(codes::JOBS_TOO_LARGE
                .error("a job's payload is at most 256 KiB and its key at most 512 bytes"));
        }
        let attempts = spec.max_attempts.unwrap_or(rule.max_attempts).max(1);
        // A key may be taken by a job that ends between the two statements: then it is free.
        for _ in 0..3 {
            let (insert, params) = self.insertion(&spec, attempts, context);
            if let Some(id) = first_text(self.write(insert, params, context, tx).await?)? {
                match tx {
                    Some(tx) => {
                        let wake = Arc::clone(&self.wake);
                        tx.on_commit(Arc::new(move || wake.notify_one()));
                    }
                    None => self.wake.notify_one(),
                }
                return Ok(id);
            }
            let sql = "SELECT id FROM _airhost_jobs
                WHERE tenant = $1 AND kind = $2 AND active_key = $3";
            let params = vec![
                Value::Text(tenant_text(context.tenant.as_ref())),
                Value::Text(spec.kind.clone()),
                spec.key.clone().map_or(Value::Null, Value::Text),
            ];
            if let Some(id) = first_text(self.write(sql, params, context, tx).await?)? {
                return Ok(id);
            }
        }
        Err(codes::JOBS_UNAVAILABLE.error("the job's key changes hands too quickly"))
    }

    /// Cancels a job of the call's tenant that has not ended; answers whether there was one. A
    /// running one loses its lease: its handler is stopped.
    ///
    /// # Errors
    /// `jobs.unavailable`; `tx.closed`, `tx.expired` and `tx.read-only` of the transaction.
    pub async fn cancel(
        &self,
        id: &str,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<bool> {
        let Ok(id) = Uuid::parse_str(id) else {
            return Ok(false);
        };
        let sql = "UPDATE _airhost_jobs SET state = 'cancelled', active_key = NULL, lease = NULL,
                lease_until = NULL, ended_at = $2
            WHERE id = $1 AND ended_at IS NULL AND ($3 = '' OR tenant = $3) RETURNING id";
        let params = vec![
            Value::Uuid(id.to_string()),
            Value::Timestamp(self.clock.now_micros()),
            Value::Text(tenant_text(context.tenant.as_ref())),
        ];
        let cancelled = first_text(self.write(sql, params, context, tx).await?)?.is_some();
        if cancelled {
            match tx {
                Some(tx) => {
                    let wake = Arc::clone(&self.wake);
                    tx.on_commit(Arc::new(move || wake.notify_one()));
                }
                None => self.wake.notify_one(),
            }
        }
        Ok(cancelled)
    }

    /// How a job of the call's tenant is; a call without a tenant sees the jobs of all.
    ///
    /// # Errors
    /// `jobs.not-found`, also for a job of another tenant; `jobs.unavailable`.
    pub async fn status(&self, id: &str, context: &CallContext) -> Result<JobStatus> {
        let not_found = || codes::JOBS_NOT_FOUND.error("there is no job of this id");
        let id = Uuid::parse_str(id).map_err(|_| not_found())?;
        let sql = "SELECT id, kind, state, attempt, progress, note, output, last_error
            FROM _airhost_jobs WHERE id = $1 AND ($2 = '' OR tenant = $2)";
        let params =
            vec![Value::Uuid(id.to_string()), Value::Text(tenant_text(context.tenant.as_ref()))];
        let rows = self.write(sql, params, context, None).await?.rows;
        let mut row = Columns::of(rows.into_iter().next().ok_or_else(not_found)?);
        Ok(JobStatus {
            id: row.text()?,
            kind: row.text()?,
            state: JobState::parse(&row.text()?)
                .ok_or_else(|| codes::INTERNAL.error("a job has an unknown state"))?,
            attempt: row.integer()?,
            progress: row.integer()?,
            note: row.text()?,
            output: row.optional_bytes()?,
            last_error: row.optional_text()?,
        })
    }

    fn insertion(
        &self,
        spec: &JobSpec,
        attempts: u32,
        context: &CallContext,
    ) -> (&'static str, Vec<Value>) {
        let now = self.clock.now_micros();
        let key = || spec.key.clone().map_or(Value::Null, Value::Text);
        let actor = context.principal.as_ref().map(|principal| principal.subject.clone());
        let params = vec![
            Value::Uuid(Uuid::now_v7().to_string()),
            Value::Text(spec.kind.clone()),
            key(),
            Value::Text(tenant_text(context.tenant.as_ref())),
            actor.map_or(Value::Null, Value::Text),
            Value::Text(context.correlation.as_str().to_owned()),
            Value::Text(context.trace.to_string()),
            Value::Text(serde_json::json!(spec.attrs).to_string()),
            Value::Bytes(spec.payload.clone()),
            Value::Bigint(i64::from(spec.payload_version)),
            Value::Timestamp(spec.run_at.unwrap_or(now)),
            Value::Bigint(i64::from(attempts)),
            Value::Timestamp(now),
        ];
        let sql = "INSERT INTO _airhost_jobs (id, kind, job_key, active_key, tenant, actor,
                correlation, traceparent, attrs, payload, payload_version, state, run_at, attempt,
                max_attempts, progress, note, put_at)
            VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, $10, 'waiting', $11, 0, $12, 0, '', $13)
            ON CONFLICT DO NOTHING RETURNING id";
        (sql, params)
    }

    async fn write(
        &self,
        sql: &str,
        params: Vec<Value>,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<Rows> {
        match tx {
            Some(tx) => tx.host_query(sql, params).await,
            None => {
                let deadline = context.deadline.at_most(TIMEOUT);
                self.database.host_query(sql, params, deadline).await.map_err(|error| {
                    tracing::warn!(service = %self.service, %error, "the jobs cannot be reached");
                    unavailable()
                })
            }
        }
    }
}

/// The tenant as it is in the table: empty for none.
pub(crate) fn tenant_text(tenant: Option<&Tenant>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned())
}

pub(crate) fn unavailable() -> Error {
    codes::JOBS_UNAVAILABLE.error("the jobs cannot be read or written now")
}

fn first_text(rows: Rows) -> Result<Option<String>> {
    rows.rows.into_iter().next().map(|row| Columns::of(row).text()).transpose()
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs")
            .field("service", &self.service)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}
