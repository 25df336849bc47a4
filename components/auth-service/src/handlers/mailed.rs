//! Tokens in mails: making and taking them.

use std::time::Duration;

use sdk::{Error, Result, Timestamp, Uuid, config, crypto, random, sql::Db};

use super::token_invalid;
use crate::{
    domain::{account::User, credential},
    mails,
    store::{
        one_time::{self, OneTime, Purpose},
        users,
    },
};

/// Whether the account may be sent another mail now.
pub(super) fn may_mail(user: &User, now: Timestamp) -> Result<bool> {
    let interval = Duration::from_secs(config::get("mail-interval-seconds")?);
    Ok(user.mailed_at.is_none_or(|last| last + interval <= now))
}

/// Makes a token and mails it.
pub(super) fn send(
    tx: &Db<'_>,
    user: &User,
    purpose: Purpose,
    password_hash: Option<String>,
    now: Timestamp,
) -> Result<()> {
    let id = Uuid::v7();
    let token = credential::opaque(credential::MAILED, id, &random::bytes());
    let life = match purpose {
        Purpose::Verify => config::get::<u64>("verify-email-hours")? * 3600,
        Purpose::Reset => config::get::<u64>("reset-password-minutes")? * 60,
    };
    let row = OneTime {
        id,
        user_id: user.id,
        purpose,
        token_hash: crypto::sha256_hex(token.as_bytes()),
        password_hash,
        expires_at: now + Duration::from_secs(life),
        used_at: None,
    };
    one_time::insert(tx, &row, &user.tenant_id, now)?;
    tx.send_mail(&match purpose {
        Purpose::Verify => mails::verify(&user.email, &token)?,
        Purpose::Reset => mails::reset(&user.email, &token)?,
    })?;
    users::mailed(tx, user.id, now)
}

/// A token that was mailed for this purpose, used or not, with its account.
pub(super) fn find(db: &Db<'_>, token: &str, purpose: Purpose) -> Result<(OneTime, User)> {
    let invalid = || token_invalid(400);
    let id = credential::opaque_id(credential::MAILED, token).ok_or_else(invalid)?;
    let found = one_time::get(db, id)?.ok_or_else(invalid)?;
    let hash = crypto::sha256_hex(token.as_bytes());
    if !crypto::equal(hash.as_bytes(), found.token_hash.as_bytes()) || found.purpose != purpose {
        return Err(invalid());
    }
    let user = users::get(db, found.user_id)?.ok_or_else(invalid)?;
    Ok((found, user))
}

/// Uses it: an error if it was used or is too old.
pub(super) fn spend(db: &Db<'_>, token: &OneTime, now: Timestamp) -> Result<()> {
    if token.expires_at > now && one_time::spend(db, token, now)? {
        Ok(())
    } else {
        Err(token_invalid(400))
    }
}

/// The sentence for a page, where the failure is one that a person can understand.
pub(super) fn sentence(error: Error) -> Result<String> {
    if error.code() == "token_invalid" {
        Ok("This link was used before, is too old, or was not copied whole. Ask for a new one."
            .to_owned())
    } else {
        Err(error)
    }
}
