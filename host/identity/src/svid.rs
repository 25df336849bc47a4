//! X.509-SVIDs: the certificates that say which service or node somebody is.
//!
//! The rules are those of the SPIFFE X.509-SVID standard (`standards/X509-SVID.md`, sections 2, 4
//! and 5). [`peer_id`] applies them to what a peer has shown, [`Svid::new`] to our own.

mod key;
mod rules;

use std::{fmt, sync::Arc};

use airhost_core::{Clock, SpiffeError, SpiffeId};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::PemObject,
    },
    sign::CertifiedKey,
};

use crate::tls;
pub(crate) use key::Key;
pub use rules::peer_id;
pub(crate) use rules::{parse, serial_text, validity};

/// Certificates in one chain, at most.
const MAX_CHAIN: usize = 8;

/// Why a certificate says nothing about who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// There is no certificate, or a chain is longer than eight.
    #[error("a chain has one to eight certificates")]
    Chain,
    /// It is not an X.509 version 3 certificate in DER, or an extension is there twice.
    #[error("it is not a well-formed X.509 certificate")]
    Malformed,
    /// The standard wants exactly one URI among the alternative names (section 2).
    #[error("it names {0} URIs instead of one")]
    UriNames(usize),
    /// The URI is not a SPIFFE id.
    #[error("its URI is not a SPIFFE id")]
    Id(#[from] SpiffeError),
    /// The id is that of a trust domain and names nobody in it (section 5.2).
    #[error("its SPIFFE id has no path")]
    NoPath,
    /// A certificate of an authority signs, and never authenticates (sections 4.1 and 5.2).
    #[error("it is the certificate of an authority")]
    Authority,
    /// `keyUsage` is missing, not critical, lacks `digitalSignature`, or has a use of authorities
    /// (section 4.3).
    #[error("its key usage is not that of a leaf: {0}")]
    KeyUsage(&'static str),
    /// `extKeyUsage` is there, and lacks `serverAuth` or `clientAuth` (section 4.4).
    #[error("its extended key usage is not both server and client authentication")]
    ExtendedKeyUsage,
    /// The subject is empty, and the alternative names are not critical (RFC 5280, 4.1.2.6).
    #[error("its subject is empty and its alternative names are not critical")]
    NamesNotCritical,
    /// The private key cannot be used, or belongs to another certificate.
    #[error("the private key is not that of the certificate")]
    Key,
    /// It is of a trust domain that is neither ours nor an alias of it.
    #[error("{0} is of a foreign trust domain")]
    ForeignTrustDomain(SpiffeId),
    /// It is somebody else than who was expected.
    #[error("it is {found}, and not {}", expected_text(.expected))]
    Unexpected {
        /// Who it is.
        found: SpiffeId,
        /// Who it may be.
        expected: Vec<SpiffeId>,
    },
}

impl SvidError {
    /// The stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Malformed => "malformed",
            Self::UriNames(_) => "uri_names",
            Self::Id(_) => "spiffe_id",
            Self::NoPath => "no_path",
            Self::Authority => "authority",
            Self::KeyUsage(_) => "key_usage",
            Self::ExtendedKeyUsage => "extended_key_usage",
            Self::NamesNotCritical => "names_not_critical",
            Self::Key => "key",
            Self::ForeignTrustDomain(_) => "foreign_trust_domain",
            Self::Unexpected { .. } => "unexpected_peer",
        }
    }
}

fn expected_text(expected: &[SpiffeId]) -> String {
    match expected {
        [] => "anybody".to_owned(),
        [one] => one.to_string(),
        [first, others @ ..] => format!("{first} or {} others", others.len()),
    }
}

/// When a certificate is valid: seconds since the epoch, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// Whether it is valid at that second.
    #[must_use]
    pub fn contains(self, second: i64) -> bool {
        (self.not_before..=self.not_after).contains(&second)
    }

    /// How many seconds it is long.
    #[must_use]
    pub fn length(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }
}

/// Seconds since the epoch on a clock.
pub(crate) fn seconds(clock: &Clock) -> i64 {
    clock.now_micros().div_euclid(1_000_000)
}

/// A certificate chain with its private key: what a service or node proves with who it is.
#[derive(Clone)]
pub struct Svid {
    id: SpiffeId,
    serial: String,
    validity: Validity,
    key: Arc<CertifiedKey>,
}

impl Svid {
    /// From a chain, the leaf first and without the root, and the leaf's private key.
    ///
    /// # Errors
    /// What the leaf breaks of the standard, and [`SvidError::Key`]. Whether the chain is valid
    /// now and trusted is another question.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, SvidError> {
        Self::with_provider(chain, key, &tls::provider())
    }

    /// From PEM texts.
    ///
    /// # Errors
    /// As [`Svid::new`]; [`SvidError::Malformed`] where there is no PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, SvidError> {
        let chain = certificates(chain).ok_or(SvidError::Malformed)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| SvidError::Key)?;
        Self::new(chain, key)
    }

    fn with_provider(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, SvidError> {
        if chain.len() > MAX_CHAIN {
            return Err(SvidError::Chain);
        }
        let id = peer_id(&chain)?;
        let leaf = parse(&chain[0])?;
        let (serial, validity) = (serial_text(&leaf), validity(&leaf));
        let key = provider.key_provider.load_private_key(key).map_err(|_| SvidError::Key)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| SvidError::Key)?;
        Ok(Self { id, serial, validity, key: Arc::new(key) })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf and its intermediates.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The leaf's serial number, in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// When the leaf is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id)
            .field("serial", &self.serial)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// The certificates of a PEM text; none where there are none, or one is not PEM.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// The system could not make a key or sign with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key could be made")]
pub struct KeyError;

/// A new private key, and the request for a certificate for it.
#[derive(Debug)]
pub struct SvidRequest {
    id: SpiffeId,
    key: Key,
    csr: CertificateSigningRequestDer<'static>,
}

impl SvidRequest {
    /// Makes an ECDSA P-256 key and a PKCS #10 request that names the id and nothing else.
    ///
    /// # Errors
    /// [`KeyError`] where the system has no random numbers.
    pub fn new(id: SpiffeId) -> Result<Self, KeyError> {
        let key = Key::generate().ok_or(KeyError)?;
        let csr = key.request(&id).ok_or(KeyError)?;
        Ok(Self { id, key, csr })
    }

    /// Whom it is for.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The request.
    #[must_use]
    pub fn csr(&self) -> &CertificateSigningRequestDer<'static> {
        &self.csr
    }

    /// Puts the signed chain and the key together.
    ///
    /// # Errors
    /// What is wrong with the chain; [`SvidError::Unexpected`] if it is for somebody else.
    pub fn complete(&self, chain: Vec<CertificateDer<'static>>) -> Result<Svid, SvidError> {
        let key = PrivatePkcs8KeyDer::from(self.key.pkcs8().to_vec());
        let svid = Svid::new(chain, key.into())?;
        if svid.id != self.id {
            return Err(SvidError::Unexpected { found: svid.id, expected: vec![self.id.clone()] });
        }
        Ok(svid)
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

#[cfg(test)]
mod tests;
