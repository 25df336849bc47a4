//! What is known of Airtable's API, without calling it.

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod operation;
pub(crate) mod written;
