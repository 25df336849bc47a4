//! Telling others that decisions may differ.

use sdk::{
    Result, Timestamp,
    events::Event,
    http::{IntoResponse, Response},
    openapi::Operation,
    sql::Db,
};
use serde::Serialize;

use super::access::tenant_of;
use crate::{
    domain::{ResourceRef, SubjectRef},
    store,
};

/// `permission.changed`.
#[derive(Serialize)]
struct Changed<'a> {
    tenant_id: &'a str,
    change: &'static str,
    operation: &'static str,
    object_id: &'a str,
    consistency_token: String,
    actor: Option<&'a str>,
    at: Timestamp,
    resource: Option<String>,
    subjects: Vec<String>,
}

impl Event for Changed<'_> {
    const TOPIC: &'static str = "permission.changed";

    fn subject(&self) -> String {
        self.resource.clone().unwrap_or_else(|| format!("tenant:{}", self.tenant_id))
    }
}

/// What changed.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    /// `role`, `binding`, `resource`, `deny-rule`.
    pub(crate) what: &'static str,
    /// `created`, `updated`, `deleted`, `expired`.
    pub(crate) operation: &'static str,
    pub(crate) id: &'a str,
    /// Decisions may differ there and below; none for the whole tenant.
    pub(crate) resource: Option<&'a ResourceRef>,
    /// For whom; none for all.
    pub(crate) subject: Option<&'a SubjectRef>,
    pub(crate) actor: Option<&'a str>,
}

/// Counts and publishes a change with the transaction it happens in; answers the token with which
/// a check sees it.
pub(crate) fn record(tx: &Db<'_>, change: Change<'_>) -> Result<String> {
    let token = token(store::next_revision(tx)?);
    tx.publish(&Changed {
        tenant_id: tenant_of(tx)?,
        change: change.what,
        operation: change.operation,
        object_id: change.id,
        consistency_token: token.clone(),
        actor: change.actor,
        at: Timestamp::now(),
        resource: change.resource.map(ToString::to_string),
        subjects: change.subject.iter().map(ToString::to_string).collect(),
    })?;
    Ok(token)
}

/// The text of a revision.
pub(crate) fn token(revision: i64) -> String {
    format!("r{revision}")
}

/// The revision of a token; none for what was never given out.
pub(crate) fn revision_of(token: &str) -> Option<i64> {
    token.strip_prefix('r')?.parse().ok().filter(|revision| *revision >= 0)
}

/// A response with the token of the change it made.
pub(crate) struct WithToken<R>(pub(crate) String, pub(crate) R);

impl<R: IntoResponse> IntoResponse for WithToken<R> {
    fn into_response(self) -> Result<Response> {
        Ok(self.1.into_response()?.with("consistency-token", self.0))
    }

    fn describe_response(op: &mut Operation) {
        R::describe_response(op);
        op.response_header(0, "Consistency-Token", "Send it as `consistency` to see the change");
    }
}
