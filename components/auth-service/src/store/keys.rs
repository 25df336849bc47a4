//! The public halves of signing keys; they belong to no tenant.

use sdk::{Result, params, sql};

use crate::domain::key::SigningKey;

pub(crate) fn all() -> Result<Vec<SigningKey>> {
    sql::query(
        "SELECT kid, generation, jwk, created_at, active_from FROM signing_keys
         ORDER BY generation",
        params![],
    )
}

/// Adds a key; answers whether its generation was free.
pub(crate) fn insert(key: &SigningKey) -> Result<bool> {
    let rows = sql::execute(
        "INSERT INTO signing_keys (kid, generation, jwk, created_at, active_from)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (generation) DO NOTHING",
        params![key.kid, key.generation, key.jwk, key.created_at, key.active_from],
    )?;
    Ok(rows > 0)
}

pub(crate) fn delete(kid: &str) -> Result<()> {
    sql::execute("DELETE FROM signing_keys WHERE kid = $1", params![kid])?;
    Ok(())
}
