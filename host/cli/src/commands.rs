//! One module a command.

pub(crate) mod build;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod routes;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod toolchain;
pub(crate) mod trace;
pub(crate) mod up;
