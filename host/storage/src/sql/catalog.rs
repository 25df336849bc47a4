//! The portable types of a database's columns, and statements against them.

use std::{collections::HashMap, sync::Arc};

use airhost_core::{Result, codes};

use super::{
    Portable, Value,
    portable::conform,
    statement::{Hint, Inputs, Statement},
};

/// The schema of a database at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    /// Counts the changes, so that what was derived from an older schema is derived anew.
    pub(crate) version: u64,
    /// Types by table and column.
    pub(crate) tables: HashMap<String, HashMap<String, Portable>>,
}

impl Catalog {
    /// The type of a column.
    pub(crate) fn column(&self, table: &str, column: &str) -> Option<Portable> {
        self.tables.get(table)?.get(column).copied()
    }

    /// The type a hint comes to.
    pub(crate) fn resolve(&self, hint: &Hint) -> Option<Portable> {
        match hint {
            Hint::None => None,
            Hint::Type(portable) => Some(*portable),
            Hint::Column(column) => {
                column.tables.iter().find_map(|table| self.column(table, &column.column))
            }
        }
    }

    /// Checks the parameters of a statement and brings them into the form that is stored.
    ///
    /// # Errors
    /// `sql.parameter`; `sql.not-allowed` when the statement computes with a column that SQLite
    /// cannot compute with as PostgreSQL does.
    pub(crate) fn conform(&self, statement: &Statement, params: Vec<Value>) -> Result<Vec<Value>> {
        if params.len() != statement.params.len() {
            return Err(codes::SQL_PARAMETER.error(format!(
                "the statement takes {} parameters and was given {}",
                statement.params.len(),
                params.len()
            )));
        }
        let inputs = self.inputs(statement)?;
        let typed = params.into_iter().zip(&inputs.types).enumerate();
        typed.map(|(at, (value, expected))| conform(value, *expected, at + 1)).collect()
    }

    fn inputs(&self, statement: &Statement) -> Result<Arc<Inputs>> {
        if let Some(inputs) = &*statement.inputs.load()
            && inputs.version == self.version
        {
            return Ok(Arc::clone(inputs));
        }
        for operand in &statement.numbers {
            let Some(portable) = self.resolve(operand) else { continue };
            if !matches!(portable, Portable::Bigint | Portable::Double) {
                return Err(codes::SQL_NOT_ALLOWED.error(format!(
                    "arithmetic with a {} is not exact on both engines; compute it in the service",
                    portable.name()
                )));
            }
        }
        let types = statement.params.iter().map(|hint| self.resolve(hint)).collect();
        let inputs = Arc::new(Inputs { version: self.version, types });
        statement.inputs.store(Some(Arc::clone(&inputs)));
        Ok(inputs)
    }
}
