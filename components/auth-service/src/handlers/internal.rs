//! What only the platform calls: the exchange of long-lived tokens, and the first user.

use std::time::Duration;

use sdk::{
    Error, Result, Schema, Tenant, Timestamp, Uuid, config, context, crypto,
    http::{Json, Routes},
    random, sql,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    NoStore,
    account::{accept_password, new_user},
    published::UserRegistered,
    token, token_invalid,
};
use crate::{
    domain::{
        account::{User, email_key},
        credential::{self, EVERYTHING, TokenKind},
    },
    issuer::{self, Grant},
    store::{tokens, users},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "internal";
    /// Exchanges a personal token or an API key for a short-lived access token.
    POST "/internal/v1/auth/exchange" => exchange, errors [401, 403], hidden;
    /// Makes or finds a user with a personal token, for the host.
    POST "/internal/v1/auth/bootstrap" => bootstrap, errors [403], hidden;
};

/// 403 unless the caller is this workload: the end of its SPIFFE id after the trust domain.
fn only(workload: &str) -> Result<()> {
    let caller = context::caller().unwrap_or_default();
    let (_, path) =
        caller.strip_prefix("spiffe://").and_then(|id| id.split_once('/')).unwrap_or_default();
    if path == workload { Ok(()) } else { Err(Error::forbidden("this is not for everyone")) }
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Exchange {
    /// The long-lived token.
    #[schema(max_length = 500)]
    token: String,
}

/// A short-lived access token.
#[derive(Debug, Serialize, Schema)]
struct Exchanged {
    /// The access token.
    access_token: String,
    /// Seconds until it expires.
    expires_in: i64,
    /// The user.
    subject: Uuid,
    /// The tenant.
    tenant: String,
    /// What the token is limited to.
    scopes: Vec<String>,
    /// What `session.revoked` will name: the id of the long-lived token.
    session: Uuid,
}

/// `last_used_at` is kept to this, so that a busy token costs no write a request.
const USED_EVERY: Duration = Duration::from_secs(60);

fn exchange(Json(input): Json<Exchange>) -> Result<NoStore<Json<Exchanged>>> {
    only("ns/pyairtable/sa/api-gateway")?;
    let invalid = || token_invalid(401);
    let now = Timestamp::now();
    let prefix = credential::prefix(&input.token).ok_or_else(invalid)?;
    let db = sql::shared();
    let known = tokens::by_prefix(&db, prefix)?.ok_or_else(invalid)?;
    let hash = crypto::sha256_hex(input.token.as_bytes());
    let good = crypto::equal(hash.as_bytes(), known.token_hash.as_bytes())
        && known.revoked_at.is_none()
        && known.expires_at.is_none_or(|at| at > now)
        && known.verified_at.is_some()
        && !known.disabled;
    let role = known.role.filter(|_| good).ok_or_else(invalid)?;
    let mut expires_in: i64 = config::get("exchange-token-seconds")?;
    if let Some(at) = known.expires_at {
        expires_in = expires_in.min(at.as_seconds() - now.as_seconds()).max(1);
    }
    let access_token = issuer::issue(&Grant {
        user: known.user_id,
        tenant: &known.tenant_id,
        role: &role,
        session: known.id,
        scope: &known.scopes.join(" "),
        kind: known.kind.as_str(),
        seconds: expires_in,
    })?;
    if known.last_used_at.is_none_or(|at| at + USED_EVERY <= now) {
        tokens::used(&db, known.id, now)?;
    }
    Ok(NoStore(Json(Exchanged {
        access_token,
        expires_in,
        subject: known.user_id,
        tenant: known.tenant_id,
        scopes: known.scopes,
        session: known.id,
    })))
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Bootstrap {
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(not_blank, max_length = 200)]
    name: Option<String>,
    /// Made if it is absent.
    #[schema(max_length = 1024)]
    password: Option<String>,
    /// Of the personal token.
    #[schema(not_blank, max_length = 100)]
    token_name: String,
}

/// The first user.
#[derive(Debug, Serialize, Schema)]
struct Bootstrapped {
    user_id: Uuid,
    tenant_id: String,
    email: String,
    /// Only if it was made now.
    password: Option<String>,
    /// Only if none of the name was active.
    token: Option<String>,
}

fn bootstrap(Json(input): Json<Bootstrap>) -> Result<NoStore<Json<Bootstrapped>>> {
    only("ns/airhost-system/sa/airhost")?;
    let key = email_key(&input.email);
    let now = Timestamp::now();
    // Hashed before the transaction, which is not to wait for it.
    let fresh = match users::by_email(&sql::shared(), &key)? {
        Some(_) => None,
        None => Some(first_user(&input, &key, now)?),
    };
    let tx = sql::begin()?;
    let mut password = None;
    let user = match (users::by_email(&tx, &key)?, fresh) {
        (Some(mut user), _) => {
            if user.verified_at.is_none() {
                user.verified_at = Some(now);
                users::save(&tx, &mut user, "user.email-verified", json!({"by": "host"}))?;
            }
            user
        }
        (None, Some((user, made))) => {
            users::insert(&tx, &user, json!({"method": "migration"}))?;
            tx.publish(&UserRegistered::of(&user, "migration"))?;
            password = made;
            user
        }
        (None, None) => {
            return Err(Error::conflict("the user was deleted at the same moment"));
        }
    };
    let scoped = tx.for_tenant(Some(Tenant::new(user.tenant_id.clone())));
    let token = if tokens::has(&scoped, user.id, &input.token_name, now)? {
        None
    } else {
        let scopes = vec![EVERYTHING.to_owned()];
        let (token, info, hash) =
            token::generate(TokenKind::Personal, input.token_name, scopes, None, now);
        tokens::insert(&tx, &info, &hash, user.id, &user.tenant_id)?;
        Some(token)
    };
    tx.commit()?;
    Ok(NoStore(Json(Bootstrapped {
        user_id: user.id,
        tenant_id: user.tenant_id,
        email: user.email,
        password,
        token,
    })))
}

/// A verified user, and the password if it was made here.
fn first_user(input: &Bootstrap, key: &str, now: Timestamp) -> Result<(User, Option<String>)> {
    let made = match &input.password {
        Some(password) => {
            accept_password("/password", password, key)?;
            None
        }
        None => Some(random::token()[..20].to_owned()),
    };
    let password = made.as_deref().or(input.password.as_deref()).unwrap_or_default();
    let hash = crypto::password::hash(password)?;
    let mut user = new_user(input.email.trim().to_owned(), input.name.clone(), hash, now);
    user.verified_at = Some(now);
    Ok((user, made))
}
