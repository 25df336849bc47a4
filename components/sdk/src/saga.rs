//! Durable sagas: steps with compensations that survive a crash at any point.

use crate::{Result, imports, sql::Db};

pub use crate::bindings::pyairtable::events::saga::{SagaState, Status, Step, StepStatus};

impl Db<'_> {
    /// Starts a saga: in a transaction if and only if that commits. The same key answers the same
    /// saga. Answers its id.
    ///
    /// # Errors
    /// `saga.*`, `tx.closed`.
    pub fn start_saga(&self, key: &str, steps: &[Step]) -> Result<String> {
        Ok(imports::saga::start(key, steps, self.handle())?)
    }
}

/// How a saga is doing.
///
/// # Errors
/// `saga.*`.
pub fn get(id: &str) -> Result<Status> {
    Ok(imports::saga::get(id)?)
}

/// Runs the compensations of what is done, in reverse order.
///
/// # Errors
/// `saga.*`.
pub fn cancel(id: &str) -> Result<()> {
    Ok(imports::saga::cancel(id)?)
}
