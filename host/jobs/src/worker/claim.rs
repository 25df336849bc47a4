//! Taking jobs that are due.

use airhost_core::{CorrelationId, Result, Tenant, TraceContext, codes};
use airhost_storage::sql::{Columns, Value};
use uuid::Uuid;

use super::Worker;

/// A job that this worker has a lease on.
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) lease: String,
    pub(super) kind: String,
    pub(super) key: Option<String>,
    pub(super) tenant: Option<Tenant>,
    pub(super) actor: Option<String>,
    pub(super) correlation: CorrelationId,
    pub(super) trace: TraceContext,
    pub(super) attrs: Vec<(String, String)>,
    pub(super) payload: Vec<u8>,
    pub(super) payload_version: u32,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
}

impl Worker {
    /// Claims at most so many jobs that are due, or whose lease ran out, longest due first.
    pub(super) async fn claim(&self, room: usize) -> Result<Vec<Claimed>> {
        let lease = Uuid::new_v4().to_string();
        let sql = "UPDATE _airhost_jobs SET state = 'running', attempt = attempt + 1, lease = $1,
                lease_until = $2
            WHERE id IN (SELECT id FROM _airhost_jobs
                WHERE (state = 'waiting' AND run_at <= $3) OR (state = 'running' AND lease_until <= $3)
                ORDER BY run_at LIMIT $4 FOR UPDATE SKIP LOCKED)
            RETURNING id, kind, job_key, tenant, actor, correlation, traceparent, attrs, payload,
                payload_version, attempt, max_attempts";
        let params = vec![
            Value::Text(lease.clone()),
            self.lease_end(),
            Value::Timestamp(self.now()),
            Value::Bigint(i64::try_from(room).unwrap_or(i64::MAX)),
        ];
        let rows = self.jobs.database.host_query(sql, params, self.deadline()).await?.rows;
        rows.into_iter().map(|row| read(row, &lease)).collect()
    }
}

fn read(row: Vec<Value>, lease: &str) -> Result<Claimed> {
    let damaged = || codes::INTERNAL.error("a job's row is damaged");
    let mut row = Columns::of(row);
    Ok(Claimed {
        id: row.text()?,
        lease: lease.to_owned(),
        kind: row.text()?,
        key: row.optional_text()?,
        tenant: Some(row.text()?).filter(|id| !id.is_empty()).map(|id| Tenant::new(&id)),
        actor: row.optional_text()?,
        correlation: CorrelationId::accept(&row.text()?).ok_or_else(damaged)?,
        trace: TraceContext::parse(&row.text()?).ok_or_else(damaged)?,
        attrs: serde_json::from_str(&row.text()?).map_err(|_| damaged())?,
        payload: row.bytes()?,
        payload_version: row.integer()?,
        attempt: row.integer()?,
        max_attempts: row.integer()?,
    })
}
