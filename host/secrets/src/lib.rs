//! The vault: secrets that are put or made once, used by handle, and never read.
//!
//! - [`Vault`] keeps them encrypted in one SQLite file: every record has a data key of its own
//!   (AES-256-GCM), and that is wrapped by the node's [`MasterKey`]. A record is bound to its
//!   place, so that rows cannot be swapped.
//! - [`Injector`] puts them into outbound requests, as the manifest's `[[secrets.inject]]` say.
//!
//! No function of this crate returns a secret. In memory secrets are wiped when they are let go,
//! as far as this crate holds them (`ring` does not wipe its own keys), and nothing here prints
//! one.

mod injector;
mod jwk;
mod master_key;
mod totp;
mod vault;

pub use injector::Injector;
pub use master_key::MasterKey;
pub use vault::{Algorithm, OpenError, Owner, Vault};

use airhost_core::{Result, codes};

/// Whether a guest whose manifest has this `[secrets]` may use a name: `secrets.denied` if not.
pub fn check_grant(granted: &airhost_manifest::Secrets, name: &str) -> Result<()> {
    if granted.allows(name) {
        Ok(())
    } else {
        Err(codes::SECRETS_DENIED
            .error(format!("`{name}` is not in `names` under [secrets] of service.toml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_a_grant() {
        let granted = airhost_manifest::Secrets {
            names: vec!["connection/*".parse().unwrap(), "signing".parse().unwrap()],
            inject: Vec::new(),
        };
        for (name, good) in
            [("connection/a", true), ("signing", true), ("signing2", false), ("other", false)]
        {
            assert_eq!(check_grant(&granted, name).is_ok(), good, "{name}");
        }
        let error = check_grant(&granted, "other").unwrap_err();
        assert!(codes::SECRETS_DENIED.is(&error));
    }
}
