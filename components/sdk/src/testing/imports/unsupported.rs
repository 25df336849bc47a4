//! Engines that native tests do not have: tests of services on them run on the host.

use crate::{
    bindings::pyairtable::types::errors::{Error, ErrorClass},
    testing::state::error,
};

fn unsupported<T>(import: &str) -> Result<T, Error> {
    Err(error(
        ErrorClass::Unsupported,
        "import.unsupported",
        format!("native tests have no {import}"),
    ))
}

macro_rules! unsupported {
    ($($module:ident: $import:literal {
        $(fn $name:ident($($arg:ident: $ty:ty),*) -> $result:ty;)*
    })*) => {$(
        /// Not in native tests.
        pub(crate) mod $module {
            use super::Error;
            #[allow(unused_imports, reason = "not all modules use it")]
            use crate::{
                bindings::pyairtable::{
                    events::saga::{Status, Step},
                    storage::{
                        search::{Document, Results},
                        sql::{Rows, Value},
                        timeseries::{Point, RangeQuery, Series},
                    },
                },
                testing::imports::sql::Transaction,
            };

            $(pub(crate) fn $name($($arg: $ty),*) -> Result<$result, Error> {
                $(let _ = $arg;)*
                super::unsupported($import)
            })*
        }
    )*};
}

unsupported! {
    search: "storage/search" {
        fn ensure_index(index: &str, mapping: &str) -> ();
        fn drop_index(index: &str) -> ();
        fn swap_alias(alias: &str, index: &str) -> ();
        fn put(index: &str, documents: &[Document]) -> Vec<Result<(), Error>>;
        fn remove(index: &str, ids: &[String]) -> u64;
        fn query(index: &str, query: &str) -> Results;
        fn explain(index: &str, query: &str, id: &str) -> String;
    }
    timeseries: "storage/timeseries" {
        fn write(points: &[Point]) -> ();
        fn query(query: &RangeQuery) -> Vec<Series>;
        fn delete_range(
            measurement: &str,
            from_ns: i64,
            to_ns: i64,
            tags: &[(String, String)]
        ) -> u64;
    }
    columnar: "storage/columnar" {
        fn insert(table: &str, columns: &[String], rows: &[Vec<Value>], batch: &str) -> u64;
        fn query(statement: &str, params: &[Value]) -> Rows;
        fn erase(table: &str, column: &str, values: &[Value]) -> ();
    }
    saga: "events/saga" {
        fn start(key: &str, steps: &[Step], tx: Option<&Transaction>) -> String;
        fn get(id: &str) -> Status;
        fn cancel(id: &str) -> ();
    }
}
