//! What was used of quotas, by window, and which marks were told.

use sdk::{Result, Row, Timestamp, http::PageQuery, params, sql::Db};
use serde::{Deserialize, Serialize};

/// A window of a quota; also what the job that closes it is put with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Row)]
pub(crate) struct UsageWindow {
    pub(crate) policy: String,
    pub(crate) scope: String,
    pub(crate) window_start: Timestamp,
    pub(crate) window_end: Timestamp,
    pub(crate) bucket: String,
    pub(crate) period_ms: i64,
    pub(crate) unit: String,
    pub(crate) capacity: i64,
    pub(crate) used: i64,
    pub(crate) closed: bool,
}

/// Writes down what is used so far; a window that is closed stays as it is.
pub(crate) fn put(db: &Db<'_>, window: &UsageWindow) -> Result<()> {
    db.execute(
        "INSERT INTO usage_windows (tenant_id, policy, scope, window_start, window_end, bucket,
             period_ms, unit, capacity, used, closed)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (tenant_id, policy, scope, window_start) DO UPDATE
         SET used = excluded.used, capacity = excluded.capacity, closed = excluded.closed
         WHERE usage_windows.closed = $11",
        params![
            window.policy,
            window.scope,
            window.window_start,
            window.window_end,
            window.bucket,
            window.period_ms,
            window.unit,
            window.capacity,
            window.used,
            window.closed,
            false
        ],
    )?;
    Ok(())
}

/// Where a page begins: windows from the newest.
pub(crate) type Place = (Timestamp, String, String);

pub(crate) fn list(
    db: &Db<'_>,
    policy: Option<&str>,
    page: &PageQuery,
) -> Result<Vec<UsageWindow>> {
    let (start, after_policy, after_scope) = match page.after::<Place>()? {
        Some((start, policy, scope)) => (Some(start), Some(policy), Some(scope)),
        None => (None, None, None),
    };
    db.query(
        "SELECT policy, scope, window_start, window_end, bucket, period_ms, unit, capacity, used,
             closed
         FROM usage_windows
         WHERE tenant_id = $tenant AND ($1 IS NULL OR policy = $1)
             AND ($2 IS NULL OR window_start < $2 OR (window_start = $2
                 AND (policy > $3 OR (policy = $3 AND scope > $4))))
         ORDER BY window_start DESC, policy, scope LIMIT $5",
        params![policy, start, after_policy, after_scope, page.fetch()],
    )
}

/// Counts a mark as told; answers whether it was not before. 101 stands for used up.
pub(crate) fn mark(db: &Db<'_>, window: &UsageWindow, mark: i64) -> Result<bool> {
    let rows = db.execute(
        "INSERT INTO quota_marks (tenant_id, policy, scope, window_start, mark, window_end)
         VALUES ($tenant, $1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        params![window.policy, window.scope, window.window_start, mark, window.window_end],
    )?;
    Ok(rows > 0)
}
