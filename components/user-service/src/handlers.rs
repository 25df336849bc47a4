//! Requests and events.

pub(crate) mod invitation;
pub(crate) mod profile;
pub(crate) mod subject;
pub(crate) mod tenant;
pub(crate) mod workspace;

mod published;

use sdk::{Error, Principal, Result, Uuid};

/// The user who asks.
fn user_of(principal: &Principal) -> Result<Uuid> {
    principal.subject().parse().map_err(|_| Error::unauthorized("log in to do this"))
}

/// The user who asks for a change: not with a token that is limited to other things.
fn writer_of(principal: &Principal) -> Result<Uuid> {
    if !principal.scopes().is_empty() {
        principal.require_scope("*")?;
    }
    user_of(principal)
}

/// What a role does not allow.
fn not_allowed() -> Error {
    Error::forbidden("the user's role does not allow this").code_is("membership.role")
}
