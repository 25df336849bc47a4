//! Requests, events and ticks.

pub(crate) mod account;
pub(crate) mod internal;
pub(crate) mod keys;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod subject;
pub(crate) mod token;

mod mailed;
mod published;

use sdk::{
    Error, Principal, Result, Uuid,
    http::{IntoResponse, Response},
    openapi::Operation,
};

/// A page for a person, which nothing keeps and no other page is told of.
#[derive(Debug)]
pub(crate) struct HtmlPage(pub(crate) u16, pub(crate) String);

impl IntoResponse for HtmlPage {
    fn into_response(self) -> Result<Response> {
        Ok(Response::of(self.0)
            .with("content-type", "text/html; charset=utf-8")
            .with("cache-control", "no-store")
            .with("referrer-policy", "no-referrer")
            .body_is(self.1))
    }

    fn describe_response(op: &mut Operation) {
        op.raw_response(200, "text/html");
    }
}

/// A response with a secret in it, which nothing keeps.
#[derive(Debug)]
pub(crate) struct NoStore<R>(pub(crate) R);

impl<R: IntoResponse> IntoResponse for NoStore<R> {
    fn into_response(self) -> Result<Response> {
        Ok(self.0.into_response()?.with("cache-control", "no-store"))
    }

    fn describe_response(op: &mut Operation) {
        R::describe_response(op);
    }
}

/// The user who asks.
fn user_of(principal: &Principal) -> Result<Uuid> {
    principal.subject().parse().map_err(|_| Error::unauthorized("log in to do this"))
}

/// The session that asks: whoever has only a long-lived token may not make more of them, nor
/// take the account over.
fn session_of(principal: &Principal) -> Result<Uuid> {
    let by_token = principal.claim("kind").is_some_and(|kind| kind != "\"session\"");
    if by_token {
        return Err(Error::forbidden("log in with the password to do this")
            .code_is("auth.session-required"));
    }
    Ok(principal.session().and_then(|session| session.parse().ok()).unwrap_or(Uuid::NIL))
}

/// What a token that is wrong in any way is answered with.
fn token_invalid(status: u16) -> Error {
    let error = Error::new(status, "token_invalid", "the token is wrong, used, revoked or expired");
    if status == 401 {
        error.header("www-authenticate", "Bearer error=\"invalid_token\"")
    } else {
        error
    }
}
