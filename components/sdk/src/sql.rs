//! The service's database.
//!
//! [`tenant`] is the usual door: every statement run through it must name `$tenant`, which stands
//! for the tenant of the call, so that a forgotten predicate is an error and not a leak.
//!
//! ```no_run
//! # #[derive(sdk::Row)] struct Item { id: sdk::Uuid, name: String }
//! # fn f(id: sdk::Uuid) -> sdk::Result<()> {
//! use sdk::{params, sql};
//! let db = sql::tenant()?;
//! let item: Option<Item> = db.optional(
//!     "SELECT id, name FROM items WHERE tenant_id = $tenant AND id = $1",
//!     params![id],
//! )?;
//! let tx = db.begin()?;
//! tx.execute("DELETE FROM items WHERE tenant_id = $tenant AND id = $1", params![id])?;
//! tx.commit()?;
//! # Ok(()) }
//! ```

mod db;
mod row;
mod value;

pub use db::{Committed, Db, Transaction, begin, execute, query, shared, tenant, tenant_of};
pub use row::{FromRow, RowReader};
pub use value::{Conversion, Decimal, FromValue, InvalidDecimal, Json, ToValue, params_of};

pub use crate::bindings::pyairtable::storage::sql::{Rows, Value};
pub use sdk_macros::{Row, Text};

#[cfg(test)]
mod tests;
