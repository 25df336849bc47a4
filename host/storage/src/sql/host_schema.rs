//! The host's own tables in a service's database.

use sha2::{Digest, Sha256};

/// One version of a set of `_airhost_*` tables. A crate that keeps state in services' databases
/// registers its versions when the database is opened; each runs once, in order, before the
/// database is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSchema {
    /// Whose tables they are, as `outbox`.
    pub name: &'static str,
    /// Counts from 1; a later version runs after an earlier one of the same name.
    pub version: u32,
    /// Portable statements, as in migrations, one each. They never change once released.
    pub statements: &'static [&'static str],
}

impl HostSchema {
    /// The digest that tells a changed version from the one that ran.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for statement in self.statements {
            hash.update(statement);
            hash.update([0]);
        }
        hex::encode(hash.finalize())
    }
}
