//! What the gateway decides by. Nothing here calls anybody.

pub(crate) mod access;
pub(crate) mod credential;
pub(crate) mod limits;
pub(crate) mod merge;
