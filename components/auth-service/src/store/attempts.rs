//! Failures to sign in and requests for mails, by a keyed hash of the name that was entered.

use std::time::Duration;

use sdk::{Result, Timestamp, params, sql::Db};

/// Failures that are older count no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn locked_until(db: &Db<'_>, hash: &str) -> Result<Option<Timestamp>> {
    let found: Option<(Option<Timestamp>,)> = db
        .optional("SELECT locked_until FROM login_attempts WHERE login_hash = $1", params![hash])?;
    Ok(found.and_then(|(until,)| until))
}

/// Counts a failure; answers how many there are in a row.
pub(crate) fn count(db: &Db<'_>, hash: &str, now: Timestamp) -> Result<i64> {
    db.scalar(
        "INSERT INTO login_attempts (login_hash, failures, attempted_at) VALUES ($1, 1, $2)
         ON CONFLICT (login_hash) DO UPDATE SET
             failures = CASE WHEN login_attempts.attempted_at < $3 THEN 1
                             ELSE login_attempts.failures + 1 END,
             attempted_at = excluded.attempted_at
         RETURNING failures",
        params![hash, now, now - FORGOTTEN_AFTER],
    )
}

pub(crate) fn lock(db: &Db<'_>, hash: &str, until: Timestamp) -> Result<()> {
    db.execute(
        "UPDATE login_attempts SET locked_until = $1 WHERE login_hash = $2",
        params![until, hash],
    )?;
    Ok(())
}

/// Notes that somebody asked for a mail to this name.
pub(crate) fn asked_for_mail(db: &Db<'_>, hash: &str, now: Timestamp) -> Result<()> {
    db.execute(
        "INSERT INTO mail_requests (login_hash, requested_at) VALUES ($1, $2)
         ON CONFLICT (login_hash) DO UPDATE SET requested_at = excluded.requested_at",
        params![hash, now],
    )?;
    Ok(())
}

pub(crate) fn clear(db: &Db<'_>, hash: &str) -> Result<()> {
    db.execute("DELETE FROM login_attempts WHERE login_hash = $1", params![hash])?;
    Ok(())
}
