//! What this host offers to components.

use airhost_core::Result;
use airhost_manifest::Migration;
use airhost_storage::sql::check_portable;

/// The interfaces of the contracts that this host links, by full id with version.
#[must_use]
pub fn interfaces() -> &'static [&'static str] {
    airhost_runtime::INTERFACES
}

/// The OpenAPI document that a component describes itself with; none if it does not.
///
/// # Errors
/// Why the component cannot be asked, in a sentence.
pub fn describe(component: &[u8]) -> Result<Option<serde_json::Value>> {
    let text = airhost_runtime::describe(component)?;
    text.map(|text| {
        serde_json::from_str(&text).map_err(|error| {
            airhost_core::codes::DEPLOY_NOT_A_COMPONENT
                .error(format!("the component describes itself with what is not JSON: {error}"))
        })
    })
    .transpose()
}

/// Checks that migrations are valid on every engine.
///
/// # Errors
/// `migration.failed`, with the migration's name and what is wrong.
pub fn check_migrations(migrations: &[Migration]) -> Result<()> {
    migrations
        .iter()
        .try_for_each(|migration| check_portable(&crate::services::migration(migration)))
}
