//! `storage/sql`: the service's own database.

use std::sync::Arc;

use airhost_core::codes;
use airhost_storage::{
    idempotency::{Idempotency, StoredResponse},
    sql::{self, Database},
};
use airhost_telemetry::trace::Kind;
use wasmtime::component::Resource;

use super::Answer;
use crate::{
    bindings::imports::pyairtable::{
        storage::sql::{self as wit, Access, HostTransaction, Rows, Value},
        types::http::Response,
    },
    serve,
    state::State,
    trace::spanned,
};

/// A transaction of a guest.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Transaction {
    tx: Arc<dyn sql::Transaction>,
    /// Whether it still counts as open.
    open: bool,
    /// Opened by the host for a batch of events, which commits it itself.
    hosts: bool,
}

impl Transaction {
    /// A transaction that the host has opened and will commit.
    pub(crate) fn of_host(tx: Arc<dyn sql::Transaction>) -> Self {
        Self { tx, open: true, hosts: true }
    }

    fn is_write(&self) -> bool {
        self.tx.access() == sql::Access::Write
    }
}

impl State {
    fn database(&self) -> airhost_core::Result<Arc<dyn Database>> {
        self.service
            .environment
            .database
            .clone()
            .ok_or_else(|| codes::IMPORT_DENIED.error("the manifest has no `sql` under [stores]"))
    }

    /// What a function that may take part in a transaction is given.
    pub(crate) fn transaction(
        &self,
        handle: Option<&Resource<Transaction>>,
    ) -> wasmtime::Result<Option<Arc<dyn sql::Transaction>>> {
        Ok(match handle {
            Some(handle) => Some(Arc::clone(&self.table.get(handle)?.tx)),
            None => None,
        })
    }

    /// Says that a transaction has ended.
    fn close(&mut self, handle: &Resource<Transaction>) -> wasmtime::Result<()> {
        let transaction = self.table.get_mut(handle)?;
        if std::mem::take(&mut transaction.open) {
            let write = transaction.is_write();
            self.call.transactions = self.call.transactions.saturating_sub(1);
            if write {
                self.call.open_writes = self.call.open_writes.saturating_sub(1);
            }
        }
        Ok(())
    }
}

impl wit::Host for State {
    async fn query(&mut self, statement: String, params: Vec<Value>) -> Answer<Rows> {
        let deadline = self.call.context.deadline;
        let database = self.database()?;
        let rows = database.query(&statement, to_params(params), deadline);
        Ok(to_rows(spanned(self.statement(&statement), rows).await?))
    }

    async fn execute(&mut self, statement: String, params: Vec<Value>) -> Answer<u64> {
        let deadline = self.call.context.deadline;
        let database = self.database()?;
        let changed = database.execute(&statement, to_params(params), deadline);
        Ok(spanned(self.statement(&statement), changed).await?)
    }

    async fn begin(&mut self, access: Access) -> Answer<Resource<Transaction>> {
        let database = self.database()?;
        let most = self.service.limits.transactions;
        if self.call.transactions >= most {
            return Err(codes::TX_TOO_MANY.error(format!("{most} transactions are open")).into());
        }
        let (access, name) = match access {
            Access::Read => (sql::Access::Read, "begin read"),
            Access::Write => (sql::Access::Write, "begin write"),
        };
        let begun = database.begin(access, self.call.context.deadline);
        let tx: Arc<dyn sql::Transaction> =
            spanned(self.span(Kind::Sql, name), begun).await?.into();
        self.call.transactions += 1;
        if access == sql::Access::Write {
            self.call.open_writes += 1;
        }
        Ok(self.push(Transaction { tx, open: true, hosts: false })?)
    }
}

impl HostTransaction for State {
    async fn query(
        &mut self,
        this: Resource<Transaction>,
        statement: String,
        params: Vec<Value>,
    ) -> Answer<Rows> {
        let tx = Arc::clone(&self.table.get(&this)?.tx);
        let rows = tx.query(&statement, to_params(params));
        Ok(to_rows(spanned(self.statement(&statement), rows).await?))
    }

    async fn execute(
        &mut self,
        this: Resource<Transaction>,
        statement: String,
        params: Vec<Value>,
    ) -> Answer<u64> {
        let tx = Arc::clone(&self.table.get(&this)?.tx);
        let changed = tx.execute(&statement, to_params(params));
        Ok(spanned(self.statement(&statement), changed).await?)
    }

    async fn commit(&mut self, this: Resource<Transaction>, reply: Option<Response>) -> Answer<()> {
        let transaction = self.table.get(&this)?;
        let tx = Arc::clone(&transaction.tx);
        if transaction.hosts {
            return Err(codes::TX_OPEN
                .error("the host commits this transaction when `consume` returns")
                .into());
        }
        let stored = match (reply, &self.call.idempotency) {
            (Some(reply), Some(token)) => {
                // What cannot be sent must not be stored, since it would be sent again and again.
                let limit = self.service.limits.output;
                let checked = serve::whole(reply, limit)?;
                Some((token.clone(), to_stored(&checked)))
            }
            _ => None,
        };
        if let Some((token, stored)) = &stored
            && stored.status < 500
            && let Err(error) = Idempotency::store_in(tx.as_ref(), token, stored).await
        {
            self.close(&this)?;
            tx.rollback().await?;
            return Err(error.into());
        }
        let committed = spanned(self.span(Kind::Sql, "commit"), tx.commit()).await;
        self.close(&this)?;
        committed?;
        if stored.is_some_and(|(_, stored)| stored.status < 500) {
            self.call.answer_stored = true;
        }
        Ok(())
    }

    async fn rollback(&mut self, this: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.get(&this)?;
        let tx = Arc::clone(&transaction.tx);
        if transaction.hosts {
            return Err(codes::TX_OPEN
                .error("answer `retry` to roll back the host's transaction")
                .into());
        }
        self.close(&this)?;
        Ok(spanned(self.span(Kind::Sql, "rollback"), tx.rollback()).await?)
    }

    async fn drop(&mut self, this: Resource<Transaction>) -> wasmtime::Result<()> {
        self.close(&this)?;
        // The engine rolls back what was not committed when the last reference goes.
        self.delete(this)?;
        Ok(())
    }
}

/// An answer that is whole in memory, as it is stored.
pub(crate) fn to_stored(response: &airhost_core::Response) -> StoredResponse {
    let headers = response.headers().iter();
    StoredResponse {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), bytes::Bytes::copy_from_slice(value.as_bytes()))
            })
            .collect(),
        body: match response.body() {
            airhost_core::Body::Bytes(bytes) => bytes.clone(),
            airhost_core::Body::Empty | airhost_core::Body::Stream(_) => bytes::Bytes::new(),
        },
    }
}

fn to_params(params: Vec<Value>) -> Vec<sql::Value> {
    params
        .into_iter()
        .map(|value| match value {
            Value::Null => sql::Value::Null,
            Value::Boolean(value) => sql::Value::Boolean(value),
            Value::Bigint(value) => sql::Value::Bigint(value),
            Value::Double(value) => sql::Value::Double(value),
            Value::Text(value) => sql::Value::Text(value),
            Value::Bytes(value) => sql::Value::Bytes(value),
            Value::Timestamp(value) => sql::Value::Timestamp(value),
            Value::Uuid(value) => sql::Value::Uuid(value),
            Value::Decimal(value) => sql::Value::Decimal(value),
            Value::Json(value) => sql::Value::Json(value),
        })
        .collect()
}

fn to_rows(rows: sql::Rows) -> Rows {
    let value = |value| match value {
        sql::Value::Null => Value::Null,
        sql::Value::Boolean(value) => Value::Boolean(value),
        sql::Value::Bigint(value) => Value::Bigint(value),
        sql::Value::Double(value) => Value::Double(value),
        sql::Value::Text(value) => Value::Text(value),
        sql::Value::Bytes(value) => Value::Bytes(value),
        sql::Value::Timestamp(value) => Value::Timestamp(value),
        sql::Value::Uuid(value) => Value::Uuid(value),
        sql::Value::Decimal(value) => Value::Decimal(value),
        sql::Value::Json(value) => Value::Json(value),
    };
    Rows {
        columns: rows.columns.to_vec(),
        rows: rows.rows.into_iter().map(|row| row.into_iter().map(value).collect()).collect(),
    }
}
