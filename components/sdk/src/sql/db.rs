//! Where statements run.

use std::{borrow::Cow, ops::Deref};

use super::{FromRow, FromValue, RowReader, Rows, Value};
use crate::{
    Error, Result, Tenant, bindings::pyairtable::storage::sql::Access, context, http::IntoResponse,
    imports,
};

/// A place to run statements: the database itself, each statement for itself, or a
/// [`Transaction`]. Store functions take `&Db<'_>` and work in both.
///
/// A `Db` of a tenant refuses statements without `$tenant`; one of no tenant refuses those with.
#[derive(Debug)]
pub struct Db<'a> {
    tx: Tx<'a>,
    tenant: Option<Tenant>,
}

#[derive(Debug)]
enum Tx<'a> {
    None,
    Owned(imports::sql::Transaction),
    Borrowed(&'a imports::sql::Transaction),
}

/// The database, for the tenant of the call.
///
/// # Errors
/// 401 if the call has no tenant.
pub fn tenant() -> Result<Db<'static>> {
    context::tenant()
        .map(tenant_of)
        .ok_or_else(|| Error::unauthorized("this needs a tenant; log in"))
}

/// The database, for a tenant that is known otherwise, as in a job that goes over all of them.
#[must_use]
pub fn tenant_of(tenant: Tenant) -> Db<'static> {
    Db { tx: Tx::None, tenant: Some(tenant) }
}

/// The database, across tenants: for ticks, and tables that belong to none.
#[must_use]
pub fn shared() -> Db<'static> {
    Db { tx: Tx::None, tenant: None }
}

/// Rows of a statement, across tenants: [`shared`]`().query(…)`.
///
/// # Errors
/// As [`Db::query`].
pub fn query<T: FromRow>(statement: &str, params: Vec<Value>) -> Result<Vec<T>> {
    shared().query(statement, params)
}

/// A write across tenants: [`shared`]`().execute(…)`.
///
/// # Errors
/// As [`Db::execute`].
pub fn execute(statement: &str, params: Vec<Value>) -> Result<u64> {
    shared().execute(statement, params)
}

/// A write transaction across tenants: [`shared`]`().begin()`.
///
/// # Errors
/// As [`Db::begin`].
pub fn begin() -> Result<Transaction<'static>> {
    shared().begin()
}

impl<'a> Db<'a> {
    /// Around the transaction that the host opened for a batch of events.
    pub(crate) fn borrowed(
        tx: Option<&'a imports::sql::Transaction>,
        tenant: Option<Tenant>,
    ) -> Self {
        Db { tx: tx.map_or(Tx::None, Tx::Borrowed), tenant }
    }

    /// The tenant that `$tenant` stands for.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// The same place for another tenant, or none.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<Tenant>) -> Db<'_> {
        Db { tx: self.handle().map_or(Tx::None, Tx::Borrowed), tenant }
    }

    /// The transaction, for imports that take one.
    pub(crate) fn handle(&self) -> Option<&imports::sql::Transaction> {
        match &self.tx {
            Tx::None => None,
            Tx::Owned(tx) => Some(tx),
            Tx::Borrowed(tx) => Some(tx),
        }
    }

    /// All rows of a `SELECT`, or of a write with `RETURNING`: at most 10 000 and 8 MiB.
    ///
    /// # Errors
    /// `sql.*`, and if a row does not fit `T`.
    pub fn query<T: FromRow>(&self, statement: &str, params: Vec<Value>) -> Result<Vec<T>> {
        let mut rows = self.rows(statement, params)?;
        let mut items = Vec::with_capacity(rows.rows.len());
        for values in &mut rows.rows {
            items.push(T::from_row(&mut RowReader { columns: &rows.columns, values })?);
        }
        Ok(items)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn optional<T: FromRow>(&self, statement: &str, params: Vec<Value>) -> Result<Option<T>> {
        let mut rows = self.rows(statement, params)?;
        match rows.rows.first_mut() {
            Some(values) => {
                T::from_row(&mut RowReader { columns: &rows.columns, values }).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The first row.
    ///
    /// # Errors
    /// As [`query`](Self::query), and 404 `resource.not-found` if there is none.
    pub fn one<T: FromRow>(&self, statement: &str, params: Vec<Value>) -> Result<T> {
        self.optional(statement, params)?.ok_or_else(|| Error::not_found("it does not exist"))
    }

    /// The first column of the first row, as for `SELECT count(*)`.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub fn scalar<T: FromValue>(&self, statement: &str, params: Vec<Value>) -> Result<T> {
        self.one::<(T,)>(statement, params).map(|(value,)| value)
    }

    /// The rows as they come.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn rows(&self, statement: &str, params: Vec<Value>) -> Result<Rows> {
        let (statement, params) = self.prepare(statement, params)?;
        Ok(match self.handle() {
            Some(tx) => tx.query(&statement, &params)?,
            None => imports::sql::query(&statement, &params)?,
        })
    }

    /// A write; answers how many rows it touched.
    ///
    /// # Errors
    /// `sql.*`.
    pub fn execute(&self, statement: &str, params: Vec<Value>) -> Result<u64> {
        let (statement, params) = self.prepare(statement, params)?;
        Ok(match self.handle() {
            Some(tx) => tx.execute(&statement, &params)?,
            None => imports::sql::execute(&statement, &params)?,
        })
    }

    /// Opens a write transaction for the same tenant. At most 5 s; no calls to other services
    /// meanwhile (`tx.open`); dropped without a commit it is rolled back.
    ///
    /// # Errors
    /// `sql.busy`, `sql.unavailable`; `tx.open` if this is a transaction.
    pub fn begin(&self) -> Result<Transaction<'static>> {
        self.open(Access::Write)
    }

    /// Opens a transaction that reads one consistent snapshot.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_read(&self) -> Result<Transaction<'static>> {
        self.open(Access::Read)
    }

    fn open(&self, access: Access) -> Result<Transaction<'static>> {
        if self.handle().is_some() {
            return Err(Error::internal("a transaction is open; transactions do not nest"));
        }
        let tx = Tx::Owned(imports::sql::begin(access)?);
        Ok(Transaction { db: Db { tx, tenant: self.tenant.clone() } })
    }

    /// Writes the tenant's parameter into the statement.
    fn prepare<'s>(
        &self,
        statement: &'s str,
        mut params: Vec<Value>,
    ) -> Result<(Cow<'s, str>, Vec<Value>)> {
        const NAME: &str = "$tenant";
        match (&self.tenant, statement.contains(NAME)) {
            (None, false) => Ok((Cow::Borrowed(statement), params)),
            (Some(tenant), true) => {
                params.push(Value::Text(tenant.as_str().to_owned()));
                let number = format!("${}", params.len());
                Ok((Cow::Owned(statement.replace(NAME, &number)), params))
            }
            (Some(_), false) => Err(Error::internal(format!(
                "a statement without `$tenant` was run for a tenant: {statement}"
            ))),
            (None, true) => Err(Error::internal(format!(
                "a statement with `$tenant` was run for no tenant: {statement}"
            ))),
        }
    }
}

/// The unit of atomicity: its statements, events, jobs, mails and the idempotent answer happen
/// together or not at all. Everything of [`Db`] works on it.
#[derive(Debug)]
pub struct Transaction<'a> {
    db: Db<'a>,
}

impl<'a> Deref for Transaction<'a> {
    type Target = Db<'a>;

    fn deref(&self) -> &Db<'a> {
        &self.db
    }
}

impl Transaction<'_> {
    /// Makes everything durable.
    ///
    /// # Errors
    /// `tx.expired`, `sql.busy`, `sql.unavailable`: nothing has happened then, unless the
    /// attribute `outcome` is `unknown`.
    pub fn commit(self) -> Result<()> {
        self.finish(None)
    }

    /// As [`commit`](Self::commit), and in the same commit keeps the response as the answer to
    /// the request's `Idempotency-Key`, if it has one. Return what it answers.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_with<R: IntoResponse>(self, reply: R) -> Result<Committed<R>> {
        let response = reply.into_response()?;
        self.finish(Some(&response))?;
        Ok(Committed { response, reply: std::marker::PhantomData })
    }

    /// Undoes everything, as dropping does.
    ///
    /// # Errors
    /// `tx.closed`, `sql.unavailable`.
    pub fn rollback(self) -> Result<()> {
        match self.db.handle() {
            Some(tx) => Ok(tx.rollback()?),
            None => Ok(()),
        }
    }

    fn finish(self, reply: Option<&crate::http::Response>) -> Result<()> {
        match self.db.handle() {
            Some(tx) => Ok(tx.commit(reply)?),
            None => Ok(()),
        }
    }
}

/// A response that was stored with its effect: what a handler returns after
/// [`Transaction::commit_with`].
#[derive(Debug)]
pub struct Committed<R> {
    pub(crate) response: crate::http::Response,
    reply: std::marker::PhantomData<fn() -> R>,
}
