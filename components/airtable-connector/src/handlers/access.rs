//! Permissions, asked of permission-service.

use std::time::Duration;

use sdk::{Error, Principal, Result, http};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::connection::Connection;

const PERMISSIONS: &str = "http://permission-service/api/v1/permissions";
/// Questions in one call.
const MAX_BATCH: usize = 100;

#[derive(Deserialize)]
struct Decision {
    allowed: bool,
}

#[derive(Deserialize)]
struct Decisions {
    results: Vec<Decision>,
}

fn question(action: &str, kind: &str, id: &str) -> Value {
    json!({"action": action, "resource": {"type": kind, "id": id}})
}

fn unavailable(error: &Error) -> Error {
    sdk::error!(code = error.code(), "a permission was not checked: {}", error.detail());
    Error::unavailable("permissions cannot be checked now").code_is("permission.unavailable")
}

/// 403 unless the caller may do something with a base.
pub(super) fn require_on_base(action: &str, base: &str) -> Result<()> {
    require(action, "base", base)
}

/// 403 unless the caller may do something in a workspace, or with the tenant.
pub(super) fn require_in(
    action: &str,
    principal: &Principal,
    workspace: Option<&str>,
) -> Result<()> {
    match workspace {
        Some(workspace) => require(action, "workspace", workspace),
        None => require(action, "tenant", principal.tenant().as_str()),
    }
}

fn require(action: &str, kind: &str, id: &str) -> Result<()> {
    let decision: Decision = http::post(format!("{PERMISSIONS}/check"))
        .json(&question(action, kind, id))
        .timeout(Duration::from_secs(3))
        .send()
        .and_then(http::Answer::success)
        .and_then(http::Answer::json)
        .map_err(|error| unavailable(&error))?;
    if decision.allowed {
        Ok(())
    } else {
        Err(Error::forbidden(format!("this needs the permission {action}")))
    }
}

/// Those of the connections whose bases the caller may see.
pub(super) fn visible(connections: Vec<Connection>) -> Result<Vec<Connection>> {
    let mut seen = Vec::with_capacity(connections.len());
    let mut rest = connections.into_iter().peekable();
    while rest.peek().is_some() {
        let batch: Vec<Connection> = rest.by_ref().take(MAX_BATCH).collect();
        let checks: Vec<Value> =
            batch.iter().map(|c| question("base.read", "base", &c.base_id)).collect();
        let decisions: Decisions = http::post(format!("{PERMISSIONS}/check-batch"))
            .json(&json!({"checks": checks}))
            .timeout(Duration::from_secs(3))
            .send()
            .and_then(http::Answer::success)
            .and_then(http::Answer::json)
            .map_err(|error| unavailable(&error))?;
        let decided = batch.into_iter().zip(decisions.results);
        seen.extend(decided.filter(|(_, decision)| decision.allowed).map(|(c, _)| c));
    }
    Ok(seen)
}

/// Puts a base under a workspace, or back under the tenant.
pub(super) fn place(principal: &Principal, base: &str, workspace: Option<&str>) -> Result<()> {
    let tenant = principal.tenant();
    let parent = match workspace {
        Some(workspace) => json!({"type": "workspace", "id": workspace}),
        None => json!({"type": "tenant", "id": tenant.as_str()}),
    };
    let answer = http::put(format!("{PERMISSIONS}/resources/base/{base}"))
        .json(&json!({"parent": parent}))
        .timeout(Duration::from_secs(3))
        .send()
        .map_err(|error| unavailable(&error))?;
    match answer.status() {
        200..300 => Ok(()),
        403 => Err(Error::forbidden("this needs the permission workspace.manage")),
        404 | 422 => Err(Error::violation("/workspace_id", "is not a workspace of yours")),
        status => {
            Err(unavailable(&Error::bad_gateway(format!("permission-service answered {status}"))))
        }
    }
}
