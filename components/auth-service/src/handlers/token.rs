//! Personal tokens and API keys.

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid, config, crypto,
    http::{Created, Json, NoContent, Page, PageQuery, Path, Routes},
    random,
    sql::{Committed, Db},
};
use serde::{Deserialize, Serialize};

use super::{NoStore, published, session_of, user_of};
use crate::{
    domain::credential::{self, EVERYTHING, SCOPES, TokenKind},
    store::tokens::{self, Token},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "tokens";
    /// Makes a personal token or an API key, which is shown this once.
    POST "/api/v1/auth/tokens" => create, errors [409];
    /// Lists the user's tokens, newest first.
    GET "/api/v1/auth/tokens" => list;
    /// Revokes a token.
    DELETE "/api/v1/auth/tokens/{id}" => revoke;
};

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    kind: TokenKind,
    /// Its name.
    #[schema(not_blank, max_length = 100, example = "nightly import")]
    name: String,
    /// What it is limited to; `*` for all that the user may do.
    #[schema(min_items = 1, max_items = 20, check = known_scopes, example = json("[\"data.records:read\"]"))]
    scopes: Vec<String>,
    /// When it expires; never if this is absent.
    expires_at: Option<Timestamp>,
}

#[expect(clippy::ptr_arg, reason = "a check takes the member's own type")]
fn known_scopes(scopes: &Vec<String>) -> Result<(), String> {
    match scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        Some(_) => Err(format!("must be some of {}", SCOPES.join(", "))),
        None => Ok(()),
    }
}

/// A token that was made.
#[derive(Debug, Serialize, Schema)]
struct Made {
    /// The token; it is not shown again.
    token: String,
    /// What is kept of it.
    #[serde(flatten)]
    info: Token,
}

/// A token with what is kept of it, and its hash.
pub(super) fn generate(
    kind: TokenKind,
    name: String,
    mut scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> (String, Token, String) {
    let secret = random::bytes();
    let token = match kind {
        TokenKind::Personal => {
            let name = std::array::from_fn(|_| u8::try_from(random::below(62)).unwrap_or(0));
            credential::personal(name, &secret)
        }
        TokenKind::ApiKey => credential::api_key(&secret),
    };
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.iter().any(|scope| scope == EVERYTHING) {
        scopes = vec![EVERYTHING.to_owned()];
    }
    let info = Token {
        id: Uuid::v7(),
        kind,
        name,
        prefix: credential::prefix(&token).unwrap_or_default().to_owned(),
        scopes,
        created_at: now,
        expires_at,
        last_used_at: None,
    };
    let hash = crypto::sha256_hex(token.as_bytes());
    (token, info, hash)
}

fn create(
    principal: Principal,
    db: Db<'static>,
    Json(input): Json<NewToken>,
) -> Result<Committed<NoStore<Created<Made>>>> {
    session_of(&principal)?;
    let user = user_of(&principal)?;
    let now = Timestamp::now();
    if input.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::violation("/expires_at", "must be in the future"));
    }
    let (token, info, hash) = generate(input.kind, input.name, input.scopes, input.expires_at, now);
    let tx = db.begin()?;
    if tokens::count(&tx, user)? >= config::get("tokens-per-user")? {
        return Err(Error::conflict("the user has as many tokens as one may have; revoke some")
            .code_is("auth.too-many-tokens"));
    }
    tokens::insert(&tx.for_tenant(None), &info, &hash, user, principal.tenant().as_str())?;
    let location = format!("/api/v1/auth/tokens/{}", info.id);
    tx.commit_with(NoStore(Created::at(location, Made { token, info })))
}

fn list(principal: Principal, page: PageQuery, db: Db<'static>) -> Result<Page<Token>> {
    tokens::list(&db, user_of(&principal)?, &page)
}

fn revoke(principal: Principal, Path(id): Path<Uuid>, db: Db<'static>) -> Result<NoContent> {
    session_of(&principal)?;
    let user = user_of(&principal)?;
    let now = Timestamp::now();
    let tx = db.begin()?;
    if !tokens::revoke(&tx, user, id, now)? {
        return Err(Error::not_found("there is no such token"));
    }
    let gone = [(id, principal.tenant().as_str().to_owned())];
    published::revoked(&tx, user, &gone, "revoked", now)?;
    tx.commit()?;
    Ok(NoContent)
}
