//! Requests, events and ticks.

mod access;
pub(crate) mod bindings;
mod changes;
pub(crate) mod checks;
pub(crate) mod events;
pub(crate) mod resources;
pub(crate) mod roles;
