//! Permissions, roles, bindings and how they decide. Nothing here knows of requests or tables.

mod condition;
mod decision;
mod permission;
mod reference;

pub(crate) use condition::{Circumstances, Condition};
pub(crate) use decision::{Decision, Effect, Grant, Grants, Reason};
pub(crate) use permission::{
    BuiltIn, CATALOGUE, Permission, PermissionSet, built_in, scope_permissions,
};
pub(crate) use reference::{ResourceRef, SubjectKind, SubjectRef, may_hang_under};
