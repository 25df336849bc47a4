//! Signing in and out, and the sessions between.

use std::time::Duration;

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid, config, crypto,
    http::{Json, NoContent, Page, PageQuery, Path, Request, Routes},
    random, secrets,
    sql::{self, Db},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    NoStore,
    published::{self, LoginFailed, UserAuthenticated},
    session_of, token_invalid, user_of,
};
use crate::{
    domain::{
        account::{self, Account, Membership, User, email_key},
        credential,
        lockout::Policy,
    },
    issuer::{self, Grant},
    store::{
        attempts, history,
        sessions::{self, Session, Which},
        users,
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "sessions";
    /// Signs a user in.
    ///
    /// A wrong password and an unknown address are answered alike, and in the same time. After
    /// some failures in a row the address is refused for a while (429).
    POST "/api/v1/auth/login" => login, errors [401, 403, 429];
    /// Exchanges a refresh token for new tokens.
    ///
    /// Each is good once. One that comes a second time was stolen or is with a thief: the session
    /// ends.
    POST "/api/v1/auth/refresh" => refresh, errors [401];
    /// Ends the session of the access token.
    POST "/api/v1/auth/logout" => logout;
    /// Who is asking.
    GET "/api/v1/auth/me" => me;
    /// Lists the user's sessions, newest first.
    GET "/api/v1/auth/sessions" => list;
    /// Ends one of the user's sessions.
    DELETE "/api/v1/auth/sessions/{id}" => end;
};

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The address.
    #[schema(max_length = 254, example = "ada@example.com")]
    email: String,
    /// The password.
    #[schema(max_length = 1024, example = "a long sentence is good")]
    password: String,
    /// The tenant to sign in to, for a user of several; the user's own by default.
    #[schema(max_length = 100)]
    tenant_id: Option<String>,
}

/// Tokens of a session.
#[derive(Debug, Serialize, Schema)]
pub(super) struct Tokens {
    /// The user.
    user_id: Uuid,
    /// The address.
    email: String,
    /// The access token, under the name that older clients read.
    token: String,
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// To get new tokens with, once.
    refresh_token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: i64,
    /// The user.
    user: Account,
}

/// A keyed hash of what was entered as the name, to count by and to publish.
pub(super) fn login_hash(key: &str) -> Result<String> {
    const PEPPER: &str = "shared/lookup-pepper";
    let mac = || secrets::mac(PEPPER, secrets::Algorithm::HmacSha256, key.as_bytes());
    let hash = match mac() {
        Err(error) if error.code() == "secrets.not-found" => {
            secrets::generate(PEPPER, secrets::Algorithm::HmacSha256)?;
            mac()?
        }
        other => other?,
    };
    Ok(crypto::hex(&hash))
}

/// 429 while a name is locked.
pub(super) fn refuse_locked(db: &Db<'_>, login: &str, now: Timestamp) -> Result<()> {
    match attempts::locked_until(db, login)? {
        Some(until) if until > now => {
            let wait = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
            Err(Error::too_many_requests("there were too many failures; try again later", wait)
                .code_is("auth.locked"))
        }
        _ => Ok(()),
    }
}

/// Counts a failure, locks the name if it is time, and publishes it.
pub(super) fn count_failure(login: &str, user: Option<&User>, now: Timestamp) -> Result<()> {
    let policy = Policy {
        after: config::get("lock-out-after")?,
        first: Duration::from_secs(config::get("lock-out-seconds")?),
        most: Duration::from_secs(config::get("lock-out-max-seconds")?),
    };
    let tx = sql::begin()?;
    let failures = attempts::count(&tx, login, now)?;
    let locked_until = policy.locked_for(failures).map(|time| now + time);
    if let Some(until) = locked_until {
        attempts::lock(&tx, login, until)?;
    }
    tx.publish(&LoginFailed {
        tenant_id: user.map(|user| user.tenant_id.as_str()),
        user_id: user.map(|user| user.id),
        login_hash: login,
        reason: if locked_until.is_some() { "locked" } else { "credentials" },
        failures,
        at: now,
        locked_until,
    })?;
    tx.commit()
}

fn login(request: Request, Json(input): Json<Login>) -> Result<NoStore<Json<Tokens>>> {
    let now = Timestamp::now();
    let key = email_key(&input.email);
    let login = login_hash(&key)?;
    let db = sql::shared();
    refuse_locked(&db, &login, now)?;
    let found = users::by_email(&db, &key)?;
    let verdict = match &found {
        Some(user) => Some(crypto::password::verify(&input.password, &user.password_hash)?),
        None => {
            crypto::password::verify_nothing(&input.password)?;
            None
        }
    };
    let (user, verdict) = match (found, verdict) {
        (Some(user), Some(verdict)) if verdict.matches && !user.disabled => (user, verdict),
        (found, _) => {
            count_failure(&login, found.as_ref(), now)?;
            return Err(Error::new(
                401,
                "auth.credentials",
                "the address or the password is wrong",
            ));
        }
    };
    if user.verified_at.is_none() {
        return Err(Error::new(
            403,
            "email_unverified",
            "follow the link in the mail that was sent to the address first",
        ));
    }
    let memberships = users::memberships(&db, user.id)?;
    let membership = account::choose(&memberships, input.tenant_id.as_deref(), &user.tenant_id)
        .ok_or_else(|| {
            Error::forbidden("the user is not a member of the tenant").code_is("auth.no-tenant")
        })?;
    let upgraded = verdict.outdated.then(|| crypto::password::hash(&input.password)).transpose()?;

    let id = Uuid::v7();
    let (refresh, life) = new_refresh(now, now)?;
    let tokens = tokens(&user, membership, id, &refresh)?;
    let session = Session {
        id,
        created_at: now,
        last_used_at: now,
        expires_at: life,
        ip: request.client_ip(),
        user_agent: request
            .header("user-agent")
            .map(|agent| agent.chars().take(200).collect())
            .unwrap_or_default(),
        current: false,
    };
    let tx = sql::begin()?;
    if let Some(hash) = upgraded {
        users::rehash(&tx, user.id, &hash)?;
    }
    attempts::clear(&tx, &login)?;
    sessions::insert(&tx, &session, user.id, &membership.tenant_id)?;
    insert_refresh(&tx, &refresh, id, &membership.tenant_id, now, life)?;
    record(&tx, id, &membership.tenant_id, user.id, 1, "session.started")?;
    tx.publish(&UserAuthenticated {
        user_id: user.id,
        tenant_id: &membership.tenant_id,
        session_id: id,
        methods: &["pwd"],
        at: now,
    })?;
    tx.commit()?;
    Ok(NoStore(Json(tokens)))
}

/// A refresh token with its id.
struct RefreshToken(Uuid, String);

/// A refresh token for a session that began then, and when it expires.
fn new_refresh(began_at: Timestamp, now: Timestamp) -> Result<(RefreshToken, Timestamp)> {
    let days = |key| config::get::<u64>(key).map(|days| Duration::from_secs(days * 86_400));
    let expires_at = (now + days("refresh-token-days")?).min(began_at + days("session-max-days")?);
    let id = Uuid::v7();
    let token = credential::opaque(credential::REFRESH, id, &random::bytes());
    Ok((RefreshToken(id, token), expires_at))
}

fn insert_refresh(
    tx: &Db<'_>,
    RefreshToken(id, token): &RefreshToken,
    session: Uuid,
    tenant: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    let hash = crypto::sha256_hex(token.as_bytes());
    sessions::insert_refresh(tx, (*id, &hash), session, tenant, (now, expires_at))
}

fn tokens(
    user: &User,
    membership: &Membership,
    session: Uuid,
    RefreshToken(_, refresh): &RefreshToken,
) -> Result<Tokens> {
    let seconds = config::get("access-token-seconds")?;
    let access_token = issuer::issue(&Grant {
        user: user.id,
        tenant: &membership.tenant_id,
        role: &membership.role,
        session,
        scope: credential::EVERYTHING,
        kind: "session",
        seconds,
    })?;
    Ok(Tokens {
        user_id: user.id,
        email: user.email.clone(),
        token: access_token.clone(),
        access_token,
        refresh_token: refresh.clone(),
        token_type: "Bearer".to_owned(),
        expires_in: seconds,
        user: Account::of(user, membership),
    })
}

fn record(
    db: &Db<'_>,
    session: Uuid,
    tenant: &str,
    user: Uuid,
    version: i64,
    kind: &str,
) -> Result<()> {
    let entry = history::Entry {
        stream: "session",
        id: session,
        version,
        tenant,
        user,
        kind,
        data: json!({}),
    };
    history::append(db, &entry)
}

/// Ends sessions of a user and says why; answers whether one was alive.
pub(super) fn finish(
    db: &Db<'_>,
    user: Uuid,
    which: Which<'_>,
    reason: &str,
    now: Timestamp,
) -> Result<bool> {
    let ended = sessions::revoke(db, user, which, now)?;
    for (session, tenant) in &ended {
        record(db, *session, tenant, user, 2, "session.revoked")?;
    }
    published::revoked(db, user, &ended, reason, now)?;
    Ok(!ended.is_empty())
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct RefreshInput {
    /// As the last answer had it.
    #[schema(max_length = 200)]
    refresh_token: String,
}

fn refresh(Json(input): Json<RefreshInput>) -> Result<NoStore<Json<Tokens>>> {
    let invalid = || token_invalid(401);
    let now = Timestamp::now();
    let token = input.refresh_token.as_str();
    let id = credential::opaque_id(credential::REFRESH, token).ok_or_else(invalid)?;
    let db = sql::shared();
    let known = sessions::refresh(&db, id)?.ok_or_else(invalid)?;
    let hash = crypto::sha256_hex(token.as_bytes());
    if !crypto::equal(hash.as_bytes(), known.token_hash.as_bytes()) || known.revoked_at.is_some() {
        return Err(invalid());
    }
    if known.used_at.is_some() {
        return reused(known.user_id, known.session_id, now);
    }
    if known.expires_at <= now {
        return Err(invalid());
    }
    let user = users::get(&db, known.user_id)?.filter(User::is_active).ok_or_else(invalid)?;
    let membership = users::membership(&db, user.id, &known.tenant_id)?.ok_or_else(invalid)?;
    let (next, life) = new_refresh(known.began_at, now)?;
    let tokens = tokens(&user, &membership, known.session_id, &next)?;

    let tx = sql::begin()?;
    if !sessions::spend_refresh(&tx, id, now)? {
        tx.rollback()?;
        return reused(known.user_id, known.session_id, now);
    }
    if !sessions::touch(&tx, known.session_id, now, life)? {
        return Err(invalid());
    }
    insert_refresh(&tx, &next, known.session_id, &known.tenant_id, now, life)?;
    tx.commit()?;
    Ok(NoStore(Json(tokens)))
}

/// A token came a second time: whoever holds its successor is not to be trusted either.
fn reused<T>(user: Uuid, session: Uuid, now: Timestamp) -> Result<T> {
    let tx = sql::begin()?;
    finish(&tx, user, Which::One(session), "refresh-reuse", now)?;
    tx.commit()?;
    sdk::warn!(session = session, "a refresh token came a second time; the session was ended");
    Err(token_invalid(401))
}

fn logout(principal: Principal) -> Result<NoContent> {
    let session = session_of(&principal)?;
    let tx = sql::begin()?;
    finish(&tx, user_of(&principal)?, Which::One(session), "logout", Timestamp::now())?;
    tx.commit()?;
    Ok(NoContent)
}

/// Who is asking, by what.
#[derive(Debug, Serialize, Schema)]
struct Me {
    /// The account.
    #[serde(flatten)]
    account: Account,
    /// The session, or the long-lived token.
    session_id: Option<String>,
    /// What the token is limited to.
    scopes: Vec<String>,
}

fn me(principal: Principal) -> Result<Json<Me>> {
    let gone = || Error::unauthorized("the account does not exist any more");
    let db = sql::shared();
    let user = users::get(&db, user_of(&principal)?)?.filter(User::is_active).ok_or_else(gone)?;
    let membership =
        users::membership(&db, user.id, principal.tenant().as_str())?.ok_or_else(gone)?;
    Ok(Json(Me {
        account: Account::of(&user, &membership),
        session_id: principal.session().map(str::to_owned),
        scopes: principal.scopes().to_vec(),
    }))
}

fn list(principal: Principal, page: PageQuery, db: Db<'static>) -> Result<Page<Session>> {
    let mut found = sessions::list(&db, user_of(&principal)?, &page, Timestamp::now())?;
    let current = principal.session().unwrap_or_default();
    for session in &mut found.data {
        session.current = session.id.to_string() == current;
    }
    Ok(found)
}

fn end(principal: Principal, Path(id): Path<Uuid>) -> Result<NoContent> {
    session_of(&principal)?;
    let tx = sql::begin()?;
    // Sessions of other tenants are the user's own too.
    if !finish(&tx, user_of(&principal)?, Which::One(id), "revoked", Timestamp::now())? {
        return Err(Error::not_found("there is no such session"));
    }
    tx.commit()?;
    Ok(NoContent)
}
