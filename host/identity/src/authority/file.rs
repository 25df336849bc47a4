//! The file that an authority is kept in.

use std::{path::Path, sync::Arc};

use airhost_core::TrustDomain;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use zeroize::{Zeroize, Zeroizing};

use super::{Intermediate, RootAuthority, State};
use crate::{
    at_rest::{AtRestKey, FileError, Kind},
    bundle::{Fingerprint, pem},
    svid::{Key, parse, validity},
};

/// The file's name in its folder.
pub(super) const NAME: &str = "authority";

const KIND: Kind = Kind {
    magic: "airhost-authority 1",
    otherwise: "if it is removed, a new authority is made: every node has to join again, and nothing trusts the certificates of the old one",
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    trust_domain: TrustDomain,
    sequence: u64,
    roots: Vec<RootEntry>,
    intermediate: IntermediateEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootEntry {
    certificate: String,
    key: Option<Secret>,
    signs_from: i64,
    trusted_until: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntermediateEntry {
    certificate: String,
    key: Secret,
    root: String,
}

/// A private key in PEM, wiped when it is let go.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    fn of(key: &Key) -> Self {
        Self(pem("PRIVATE KEY", key.pkcs8()))
    }

    fn key(&self) -> Option<Key> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.0.as_bytes()).ok()?;
        Key::from_pkcs8(der.secret_pkcs8_der())
    }
}

/// The state of a file, and whether it is in plain; none if there is no such file.
pub(super) fn read(
    path: &Path,
    key: Option<&AtRestKey>,
    trust_domain: &TrustDomain,
) -> Result<Option<(State, bool)>, FileError> {
    let Some(opened) = KIND.read(path, key)? else { return Ok(None) };
    let document: Document = serde_json::from_slice(&opened.content)
        .map_err(|_| KIND.damaged(path, "its content is not an authority"))?;
    if document.trust_domain != *trust_domain {
        return Err(FileError::TrustDomain {
            path: path.to_owned(),
            found: document.trust_domain.to_string(),
            configured: trust_domain.to_string(),
        });
    }
    let state = state(&document).map_err(|what| KIND.damaged(path, what))?;
    Ok(Some((state, opened.plain)))
}

pub(super) fn write(
    path: &Path,
    key: Option<&AtRestKey>,
    trust_domain: &TrustDomain,
    state: &State,
) -> Result<(), FileError> {
    let roots = state.roots.iter().map(|root| RootEntry {
        certificate: pem("CERTIFICATE", &root.certificate),
        key: root.key.as_deref().map(Secret::of),
        signs_from: root.signs_from,
        trusted_until: root.trusted_until,
    });
    let document = Document {
        trust_domain: trust_domain.clone(),
        sequence: state.sequence,
        roots: roots.collect(),
        intermediate: IntermediateEntry {
            certificate: pem("CERTIFICATE", &state.intermediate.certificate),
            key: Secret::of(&state.intermediate.key),
            root: state.intermediate.root.to_string(),
        },
    };
    let content = serde_json::to_vec_pretty(&document).map(Zeroizing::new);
    let content =
        content.map_err(|error| FileError::Io { path: path.to_owned(), source: error.into() })?;
    KIND.write(path, key, &content)
}

/// The state that a document says, if everything in it fits together.
fn state(document: &Document) -> Result<State, &'static str> {
    let roots = document.roots.iter().map(root).collect::<Result<Vec<_>, _>>()?;
    let entry = &document.intermediate;
    let certificate = certificate(&entry.certificate)?;
    let parsed = parse(&certificate).map_err(|_| "the intermediate is not a certificate")?;
    let key = entry.key.key().ok_or("the intermediate's key is not one of ECDSA P-256")?;
    if key.public() != parsed.public_key().raw {
        return Err("the intermediate's key is not that of its certificate");
    }
    let fingerprint: Fingerprint =
        entry.root.parse().map_err(|_| "the intermediate does not say its root")?;
    let root = roots.iter().find(|root| root.fingerprint == fingerprint);
    let root = root.ok_or("the intermediate's root is missing")?;
    let issuer = parse(&root.certificate).map_err(|_| "a root is not a certificate")?;
    if !parsed.is_ca() || !signed_by(&parsed, &issuer) {
        return Err("the intermediate is not signed by its root");
    }
    let validity = validity(&parsed);
    let intermediate = Intermediate {
        certificate: certificate.clone(),
        validity,
        key: Arc::new(key),
        root: fingerprint,
    };
    if !roots.iter().any(|root| root.key.is_some()) {
        return Err("no root has a key");
    }
    Ok(State { sequence: document.sequence, roots, intermediate })
}

fn root(entry: &RootEntry) -> Result<RootAuthority, &'static str> {
    let certificate = certificate(&entry.certificate)?;
    let parsed = parse(&certificate).map_err(|_| "a root is not a certificate")?;
    if !parsed.is_ca() || !signed_by(&parsed, &parsed) {
        return Err("a root is not signed by itself");
    }
    let key = match &entry.key {
        Some(secret) => {
            let key = secret.key().ok_or("a root's key is not one of ECDSA P-256")?;
            if key.public() != parsed.public_key().raw {
                return Err("a root's key is not that of its certificate");
            }
            Some(Arc::new(key))
        }
        None => None,
    };
    Ok(RootAuthority {
        fingerprint: Fingerprint::of(&certificate),
        validity: validity(&parsed),
        key,
        signs_from: entry.signs_from,
        trusted_until: entry.trusted_until,
        certificate: certificate.clone(),
    })
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, &'static str> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "a certificate is not PEM")
}

fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.verify_signature(Some(issuer.public_key())).is_ok()
}
