//! The trust bundle: the roots that certificates of a trust domain are verified against.

mod jwk;

use std::{fmt, str::FromStr, sync::Arc};

use airhost_core::TrustDomain;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use crate::svid::{self, SvidError, Validity};

/// Roots in a bundle, at most.
const MAX_ROOTS: usize = 64;
/// Largest bundle that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// How often others should look for a new bundle, in seconds.
pub(crate) const REFRESH_HINT: u64 = 300;

/// Why a bundle cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It has no root, or more than 64, or its text is larger than 1 MiB.
    #[error("a trust bundle has 1 to 64 roots in at most 1 MiB")]
    Size,
    /// It is neither PEM nor a SPIFFE bundle.
    #[error("the trust bundle is not {0}")]
    Format(&'static str),
    /// One of the roots is not well-formed.
    #[error("a root of the trust bundle is not a certificate: {0}")]
    Certificate(#[source] SvidError),
    /// One of the roots may not sign certificates.
    #[error("a root of the trust bundle is not the certificate of an authority")]
    NotAnAuthority,
}

/// The SHA-256 digest of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| FingerprintError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate that others are verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    certificate: CertificateDer<'static>,
    fingerprint: Fingerprint,
    validity: Validity,
}

impl Root {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, BundleError> {
        let parsed = svid::parse(&certificate).map_err(BundleError::Certificate)?;
        if !is_authority(&parsed) {
            return Err(BundleError::NotAnAuthority);
        }
        let validity = svid::validity(&parsed);
        let fingerprint = Fingerprint::of(&certificate);
        Ok(Self { certificate, fingerprint, validity })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its digest.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When it is valid. A root that is not has no effect.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// X.509-SVID, section 4: a signing certificate has `cA` and `keyCertSign`.
fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let signs = certificate.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::KeyUsage(usage) if usage.key_cert_sign())
    });
    certificate.is_ca() && signs
}

/// The roots of one trust domain. Cheap to clone; two are equal when their roots are, in any order.
#[derive(Clone, Debug)]
pub struct TrustBundle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trust_domain: TrustDomain,
    /// By fingerprint.
    roots: Vec<Root>,
    sequence: u64,
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.0.trust_domain == other.0.trust_domain && self.0.roots == other.0.roots
    }
}

impl Eq for TrustBundle {}

impl TrustBundle {
    /// A bundle of these roots; the same one twice counts once. The sequence number grows with
    /// every change at its source.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn new(
        trust_domain: TrustDomain,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        sequence: u64,
    ) -> Result<Self, BundleError> {
        let mut all = roots.into_iter().map(Root::new).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(Root::fingerprint);
        all.dedup_by_key(|root| root.fingerprint);
        if all.is_empty() || all.len() > MAX_ROOTS {
            return Err(BundleError::Size);
        }
        Ok(Self(Arc::new(Inner { trust_domain, roots: all, sequence })))
    }

    /// Reads the certificates of a PEM text.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn from_pem(
        trust_domain: TrustDomain,
        pem: &[u8],
        sequence: u64,
    ) -> Result<Self, BundleError> {
        if pem.len() > MAX_TEXT {
            return Err(BundleError::Size);
        }
        let roots = svid::certificates(pem).ok_or(BundleError::Format("PEM"))?;
        Self::new(trust_domain, roots, sequence)
    }

    /// Reads a SPIFFE bundle (a JWK set). Keys for other uses than `x509-svid` are passed over, as
    /// the standard wants (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.2.2).
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn from_json(trust_domain: TrustDomain, text: &str) -> Result<Self, BundleError> {
        const FORMAT: BundleError = BundleError::Format("a SPIFFE bundle");
        if text.len() > MAX_TEXT {
            return Err(BundleError::Size);
        }
        let set: Value = serde_json::from_str(text).map_err(|_| FORMAT)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(FORMAT)?;
        let sequence = set.get("spiffe_sequence").and_then(Value::as_u64).unwrap_or_default();
        let mut roots = Vec::new();
        for key in keys.iter().filter(|key| key["use"] == "x509-svid") {
            // Exactly one certificate: X509-SVID.md, section 6.2.
            let [Value::String(der)] = key["x5c"].as_array().map_or(&[][..], Vec::as_slice) else {
                return Err(FORMAT);
            };
            roots.push(CertificateDer::from(STANDARD.decode(der).map_err(|_| FORMAT)?));
        }
        Self::new(trust_domain, roots, sequence)
    }

    /// The roots as PEM, one after the other.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.roots.iter().map(|root| pem("CERTIFICATE", &root.certificate)).collect()
    }

    /// The roots as a SPIFFE bundle: a JWK set whose keys have `use`, `x5c` and no `kid`
    /// (X509-SVID.md, section 6.2).
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys = self.0.roots.iter().map(|root| jwk::of(&root.certificate)).collect::<Vec<_>>();
        json!({
            "keys": keys,
            "spiffe_sequence": self.0.sequence,
            "spiffe_refresh_hint": REFRESH_HINT,
        })
        .to_string()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The roots, by fingerprint.
    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.0.roots
    }

    /// The number of the bundle at its source.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Whether a root is among them.
    #[must_use]
    pub fn contains(&self, root: Fingerprint) -> bool {
        self.0.roots.binary_search_by_key(&root, Root::fingerprint).is_ok()
    }
}

/// A PEM section (RFC 7468: lines of 64 characters).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests;
