//! The node's own certificate authority.
//!
//! A root (10 years) signs an intermediate (1 year), and that signs the certificates of services
//! and nodes. Both are made at the first start and kept in one file, `<folder>/authority`, which is
//! replaced as a whole; an authority is never made anew in place of a file that cannot be used.
//!
//! The **intermediate** is replaced when a third of its life is left. Certificates that the old one
//! signed carry it in their chains and stay valid to their end.
//!
//! A **root** is replaced two years before its end, or when [`Authority::begin_root_rotation`] says
//! so: the new one is in the trust bundle at once and signs after the overlap, when everybody has
//! the new bundle. Then the key of the old one is destroyed, and its certificate stays in the bundle
//! until the last leaf below it has expired.

mod file;
mod making;
mod status;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Clock, SpiffeId, TrustDomain, make_private_folder};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::{
    at_rest::{AtRestKey, FileError},
    bundle::{Fingerprint, TrustBundle},
    issuer::IssueError,
    svid::{Key, Validity, seconds},
};
pub use status::{RootPhase, RootStatus, Status};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// How long a root is valid.
const ROOT_LIFE: i64 = 3652 * DAY;
/// A new root is made when the last one has so long to go.
const ROOT_RENEWAL: i64 = 2 * 365 * DAY;
/// How long an intermediate is valid.
const INTERMEDIATE_LIFE: i64 = 365 * DAY;
/// An intermediate is replaced when it has so long to go.
const INTERMEDIATE_RENEWAL: i64 = INTERMEDIATE_LIFE / 3;
/// How long before its making a certificate of an authority is valid, for clocks that are late.
const AUTHORITY_BACKDATE: i64 = HOUR;
/// How long before its making a leaf is valid, for clocks that are late.
const LEAF_BACKDATE: i64 = 60;
/// Shortest life of a leaf.
const MIN_TTL: Duration = Duration::from_secs(60);
/// Longest life of a leaf.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(7 * DAY as u64);

/// What an authority is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose identities it signs; it cannot be changed later.
    pub trust_domain: TrustDomain,
    /// How long leaves are valid where nothing else is asked for: 1 minute to 7 days, 24 hours
    /// unless set.
    pub leaf_ttl: Duration,
    /// How long a new root is only trusted before it signs; 8 days unless set: longer than any
    /// leaf lives, so that everybody renewed once and got the new bundle with it.
    pub root_overlap: Duration,
}

impl Config {
    /// The defaults for a trust domain.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            leaf_ttl: Duration::from_secs(DAY as u64),
            root_overlap: Duration::from_secs(8 * DAY as u64),
        }
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The life of leaves is not between 1 minute and 7 days.
    #[error("certificates live 1 minute to 7 days")]
    Ttl,
    /// No key or certificate can be made.
    #[error("no certificate can be made: {0}")]
    Making(&'static str),
}

/// The node's own authority. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    path: PathBuf,
    at_rest: Option<AtRestKey>,
    config: Config,
    clock: Clock,
    state: Mutex<State>,
}

/// What is in the file.
#[derive(Clone, Debug)]
struct State {
    /// Grows with every change of the roots.
    sequence: u64,
    /// The oldest first.
    roots: Vec<RootAuthority>,
    intermediate: Intermediate,
}

#[derive(Clone, Debug)]
struct RootAuthority {
    certificate: CertificateDer<'static>,
    validity: Validity,
    fingerprint: Fingerprint,
    /// None once it signs no more.
    key: Option<Arc<Key>>,
    /// When it begins to sign.
    signs_from: i64,
    /// When the last leaf below it has expired; none while it signs or is yet to.
    trusted_until: Option<i64>,
}

#[derive(Clone, Debug)]
struct Intermediate {
    certificate: CertificateDer<'static>,
    validity: Validity,
    key: Arc<Key>,
    root: Fingerprint,
}

impl Authority {
    /// Opens the authority of a folder, or makes one if there is none. The keys are encrypted if a
    /// key is given; a plain file is encrypted then. What is due ([`Authority::maintain`]) is done.
    ///
    /// # Errors
    /// See [`AuthorityError`]. A file that is damaged or does not fit is left as it is.
    pub fn open(
        folder: &Path,
        config: Config,
        at_rest: Option<AtRestKey>,
        clock: Clock,
    ) -> Result<Self, AuthorityError> {
        if !(MIN_TTL..=MAX_TTL).contains(&config.leaf_ttl) {
            return Err(AuthorityError::Ttl);
        }
        let path = folder.join(file::NAME);
        let io = |source| FileError::Io { path: folder.to_owned(), source };
        make_private_folder(folder).map_err(io)?;
        let state = match file::read(&path, at_rest.as_ref(), &config.trust_domain)? {
            Some((state, plain)) => {
                if plain && at_rest.is_some() {
                    file::write(&path, at_rest.as_ref(), &config.trust_domain, &state)?;
                    tracing::info!(path = %path.display(), "the keys of the authority are encrypted now");
                }
                state
            }
            None => {
                let state = State::first(&config.trust_domain, seconds(&clock))?;
                file::write(&path, at_rest.as_ref(), &config.trust_domain, &state)?;
                let root = state.roots[0].fingerprint;
                tracing::info!(path = %path.display(), %root, "made a certificate authority");
                state
            }
        };
        let state = Mutex::new(state);
        let authority = Self(Arc::new(Inner { path, at_rest, config, clock, state }));
        authority.maintain()?;
        Ok(authority)
    }

    /// Whose identities it signs.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.config.trust_domain
    }

    /// How long leaves are valid where nothing else is asked for.
    #[must_use]
    pub fn leaf_ttl(&self) -> Duration {
        self.0.config.leaf_ttl
    }

    /// Signs a leaf for the key of a PKCS #10 request: an X.509-SVID of the id, with a random
    /// serial number, valid from a minute ago. Nothing of the request but its key gets into the
    /// certificate. Answers the leaf and the intermediate.
    ///
    /// It does what is due first, which may write the file: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`IssueError::Request`] if the request is not well-formed, not signed with its own key, not
    /// for an ECDSA P-256 key, or names something else than the id; [`IssueError::Refused`] for an
    /// id of another trust domain or a life outside of 1 minute to 7 days;
    /// [`IssueError::Unavailable`] if there is no valid intermediate.
    pub fn sign(
        &self,
        csr: &CertificateSigningRequestDer<'_>,
        id: &SpiffeId,
        ttl: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        if id.trust_domain() != self.trust_domain().as_str() || id.path().is_empty() {
            return Err(IssueError::Refused(format!("{id} is not of this trust domain")));
        }
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(IssueError::Refused("certificates live 1 minute to 7 days".to_owned()));
        }
        let public = making::requested_key(csr, id)?;
        // Read before the intermediate is: no leaf then outlives what is said of its root.
        let now = seconds(&self.0.clock);
        if let Err(error) = self.maintain() {
            // What is there may still sign.
            tracing::error!(%error, "the authority could not be maintained");
        }
        let intermediate = self.0.state.lock().intermediate.clone();
        let end = now.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let end = end.min(intermediate.validity.not_after);
        if !intermediate.validity.contains(now) || end - now < MIN_TTL.as_secs() as i64 {
            return Err(IssueError::Unavailable(
                "the intermediate certificate is not valid now; check the clock".to_owned(),
            ));
        }
        let validity = Validity { not_before: now - LEAF_BACKDATE, not_after: end };
        let leaf = making::leaf(&public, id, validity, &intermediate)
            .map_err(|what| IssueError::Unavailable(what.to_owned()))?;
        Ok(vec![leaf, intermediate.certificate])
    }

    /// What is to be trusted.
    ///
    /// # Errors
    /// [`IssueError::Unavailable`], which does not happen to an authority that was opened.
    pub fn bundle(&self) -> Result<TrustBundle, IssueError> {
        let state = self.0.state.lock();
        let roots = state.roots.iter().map(|root| root.certificate.clone());
        TrustBundle::new(self.trust_domain().clone(), roots, state.sequence)
            .map_err(|error| IssueError::Unavailable(error.to_string()))
    }

    /// Does what is due: announces a new root, lets it sign, replaces the intermediate, drops roots
    /// that nothing hangs on any more. Call it every few minutes, where blocking is allowed; mostly
    /// it does nothing. Answers whether the trust bundle has changed.
    ///
    /// # Errors
    /// [`AuthorityError::File`], [`AuthorityError::Making`]; everything is as before then.
    pub fn maintain(&self) -> Result<bool, AuthorityError> {
        self.change(|state, now| {
            let newest = state.roots.last().map_or(i64::MIN, |root| root.validity.not_after);
            if newest - now < ROOT_RENEWAL {
                self.announce(state, now)?;
            }
            Ok(())
        })
    }

    /// Begins to replace the root: makes a new one, which is trusted from now on and signs after
    /// the overlap. Nothing happens while one is announced already. Answers the new root.
    ///
    /// # Errors
    /// [`AuthorityError::File`], [`AuthorityError::Making`]; everything is as before then.
    pub fn begin_root_rotation(&self) -> Result<Fingerprint, AuthorityError> {
        let mut announced = None;
        self.change(|state, now| {
            let waiting = state.roots.iter().find(|root| root.signs_from > now);
            announced = Some(match waiting {
                Some(root) => root.fingerprint,
                None => self.announce(state, now)?,
            });
            Ok(())
        })?;
        announced.ok_or(AuthorityError::Making("no root was announced"))
    }

    fn announce(&self, state: &mut State, now: i64) -> Result<Fingerprint, AuthorityError> {
        let overlap = i64::try_from(self.0.config.root_overlap.as_secs()).unwrap_or(i64::MAX);
        let root = making::root(self.trust_domain(), now, now.saturating_add(overlap))
            .map_err(AuthorityError::Making)?;
        let fingerprint = root.fingerprint;
        state.roots.push(root);
        tracing::info!(root = %fingerprint, "announced a new root");
        Ok(fingerprint)
    }

    /// Changes a copy of the state, does what is due, and takes it when it is on the disk. Answers
    /// whether the roots have changed.
    fn change(
        &self,
        change: impl FnOnce(&mut State, i64) -> Result<(), AuthorityError>,
    ) -> Result<bool, AuthorityError> {
        let now = seconds(&self.0.clock);
        let mut current = self.0.state.lock();
        let mut next = current.clone();
        change(&mut next, now)?;
        next.advance(self.trust_domain(), now)?;
        let before = current.roots.iter().map(|root| root.fingerprint);
        let roots_changed = !next.roots.iter().map(|root| root.fingerprint).eq(before);
        if roots_changed {
            next.sequence += 1;
        }
        if roots_changed || next.intermediate.certificate != current.intermediate.certificate {
            file::write(&self.0.path, self.0.at_rest.as_ref(), self.trust_domain(), &next)?;
            *current = next;
        }
        Ok(roots_changed)
    }

    /// The authority, for people.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = seconds(&self.0.clock);
        let state = self.0.state.lock();
        let roots = state.roots.iter().map(|root| {
            let (phase, phase_ends) = if root.trusted_until.is_some() {
                (RootPhase::Retiring, root.trusted_until)
            } else if root.signs_from > now {
                (RootPhase::Announced, Some(root.signs_from))
            } else {
                (RootPhase::Signing, None)
            };
            let fingerprint = root.fingerprint.to_string();
            RootStatus { fingerprint, phase, not_after: root.validity.not_after, phase_ends }
        });
        Status {
            roots: roots.collect(),
            intermediate_not_after: state.intermediate.validity.not_after,
            sequence: state.sequence,
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("path", &self.0.path)
            .field("trust_domain", &self.0.config.trust_domain)
            .finish_non_exhaustive()
    }
}

impl State {
    fn first(trust_domain: &TrustDomain, now: i64) -> Result<Self, AuthorityError> {
        let root = making::root(trust_domain, now, now).map_err(AuthorityError::Making)?;
        let intermediate =
            making::intermediate(trust_domain, &root, now).map_err(AuthorityError::Making)?;
        Ok(Self { sequence: 1, roots: vec![root], intermediate })
    }

    /// Does what is due now.
    fn advance(&mut self, trust_domain: &TrustDomain, now: i64) -> Result<(), AuthorityError> {
        let signing =
            self.roots.iter().rposition(|root| root.key.is_some() && root.signs_from <= now);
        // None where the clock is before the first root was made: then nothing is due.
        let Some(signing) = signing else { return Ok(()) };
        let root = &self.roots[signing];
        let left = self.intermediate.validity.not_after - now;
        if self.intermediate.root != root.fingerprint || left < INTERMEDIATE_RENEWAL {
            self.intermediate =
                making::intermediate(trust_domain, root, now).map_err(AuthorityError::Making)?;
            tracing::info!(root = %root.fingerprint, "made a new intermediate certificate");
        }
        for old in self.roots[..signing].iter_mut().filter(|old| old.trusted_until.is_none()) {
            // From now on nothing is signed below it, and no leaf lives longer than this.
            old.trusted_until = Some(now + MAX_TTL.as_secs() as i64);
            old.key = None;
            tracing::info!(root = %old.fingerprint, "a root has signed its last");
        }
        self.roots.retain(|root| root.trusted_until.is_none_or(|until| now <= until));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
