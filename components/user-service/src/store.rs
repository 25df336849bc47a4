//! Tenants, users, workspaces and invitations in the database.

pub(crate) mod invitations;
pub(crate) mod members;
pub(crate) mod profiles;
pub(crate) mod tenants;
pub(crate) mod workspaces;
