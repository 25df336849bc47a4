//! Events that were given up: shown, put back, thrown away.

use std::sync::Arc;

use airhost_core::{Deadline, Result, ServiceName};
use airhost_storage::sql::{Access, Columns, Database, Value};

use uuid::Uuid;

use crate::{ConsumerControl, Envelope};

/// An event that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The event.
    pub event: Arc<Envelope>,
    /// Its place in the bus.
    pub position: u64,
    /// How often it failed by itself.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// When, in microseconds since the epoch.
    pub dead_at: i64,
}

/// The dead letters of one service.
#[derive(Clone)]
pub struct DeadLetters {
    service: ServiceName,
    database: Arc<dyn Database>,
    control: Option<ConsumerControl>,
}

impl DeadLetters {
    /// The dead letters of a service; the control of its consumer, where one runs here, so that
    /// a replay is seen at once.
    #[must_use]
    pub fn new(
        service: ServiceName,
        database: Arc<dyn Database>,
        control: Option<ConsumerControl>,
    ) -> Self {
        Self { service, database, control }
    }

    /// The newest ones, at most `max` (no more than 100), that were given up before a moment.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        before: Option<i64>,
        max: u16,
        deadline: Deadline,
    ) -> Result<Vec<DeadLetter>> {
        let sql = "SELECT envelope, position, attempts, reason, dead_at FROM _airhost_dead_letters
            WHERE dead_at < $1 ORDER BY dead_at DESC, event_id DESC LIMIT $2";
        let params = vec![
            Value::Timestamp(before.unwrap_or(i64::MAX)),
            Value::Bigint(i64::from(max.min(100))),
        ];
        let rows = self.database.host_query(sql, params, deadline).await?.rows;
        rows.into_iter().map(letter).collect()
    }

    /// Puts one back: it is delivered again as if it were new, before what else of its key waits.
    /// Answers whether there was one.
    ///
    /// # Errors
    /// Those of the database; nothing has happened then.
    pub async fn replay(&self, event_id: Uuid, deadline: Deadline) -> Result<bool> {
        let tx = self.database.begin(Access::Write, deadline).await?;
        let insert = "INSERT INTO _airhost_parked
                (event_id, topic, subject, position, attempts, next_at, reason, envelope)
            SELECT event_id, topic, subject, position, 0, $2, NULL, envelope
            FROM _airhost_dead_letters WHERE event_id = $1";
        let params = || vec![Value::Uuid(event_id.to_string())];
        let mut values = params();
        values.push(Value::Timestamp(0));
        if tx.host_execute(insert, values).await? == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        for table in ["_airhost_dead_letters", "_airhost_inbox"] {
            let delete = format!("DELETE FROM {table} WHERE event_id = $1");
            tx.host_execute(&delete, params()).await?;
        }
        tx.commit().await?;
        if let Some(control) = &self.control {
            control.reload();
        }
        Ok(true)
    }

    /// Throws one away; answers whether there was one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn discard(&self, event_id: Uuid, deadline: Deadline) -> Result<bool> {
        let sql = "DELETE FROM _airhost_dead_letters WHERE event_id = $1";
        let params = vec![Value::Uuid(event_id.to_string())];
        Ok(self.database.host_execute(sql, params, deadline).await? > 0)
    }
}

fn letter(row: Vec<Value>) -> Result<DeadLetter> {
    let mut row = Columns::of(row);
    Ok(DeadLetter {
        event: Arc::new(Envelope::from_json(&row.text()?)?),
        position: row.integer()?,
        attempts: u32::try_from(row.bigint()?).unwrap_or(u32::MAX),
        reason: row.text()?,
        dead_at: row.bigint()?,
    })
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("service", &self.service).finish_non_exhaustive()
    }
}
