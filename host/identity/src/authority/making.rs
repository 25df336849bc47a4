//! The certificates that an authority makes.

use std::sync::Arc;

use airhost_core::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKey, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;

use super::{AUTHORITY_BACKDATE, INTERMEDIATE_LIFE, Intermediate, ROOT_LIFE, RootAuthority};
use crate::{
    bundle::Fingerprint,
    issuer::IssueError,
    svid::{Key, Validity},
};

/// Largest signing request, in bytes.
const MAX_REQUEST: usize = 16 << 10;
/// An uncompressed point of P-256: 4, x and y (SEC 1, section 2.3.3).
const P256_POINT: usize = 65;

type Made<T> = Result<T, &'static str>;

/// A new root, which signs from then on.
pub(super) fn root(trust_domain: &TrustDomain, now: i64, signs_from: i64) -> Made<RootAuthority> {
    let key = Key::generate().ok_or("there are no random numbers")?;
    let validity =
        Validity { not_before: now - AUTHORITY_BACKDATE, not_after: now.saturating_add(ROOT_LIFE) };
    let params = authority(trust_domain, "root", BasicConstraints::Unconstrained, validity)?;
    let certificate = params.self_signed(key.pair()).map_err(|_| "the root cannot be signed")?;
    let certificate = CertificateDer::from(certificate);
    Ok(RootAuthority {
        fingerprint: Fingerprint::of(&certificate),
        certificate,
        validity,
        key: Some(Arc::new(key)),
        signs_from,
        trusted_until: None,
    })
}

/// A new intermediate below a root that has its key.
pub(super) fn intermediate(
    trust_domain: &TrustDomain,
    root: &RootAuthority,
    now: i64,
) -> Made<Intermediate> {
    let root_key = root.key.as_ref().ok_or("the root's key is not there any more")?;
    let key = Key::generate().ok_or("there are no random numbers")?;
    let validity = Validity {
        not_before: (now - AUTHORITY_BACKDATE).max(root.validity.not_before),
        not_after: now.saturating_add(INTERMEDIATE_LIFE).min(root.validity.not_after),
    };
    let params =
        authority(trust_domain, "intermediate", BasicConstraints::Constrained(0), validity)?;
    let certificate = signed(&params, key.pair(), &root.certificate, root_key)?;
    Ok(Intermediate { certificate, validity, key: Arc::new(key), root: root.fingerprint })
}

/// A leaf for a public key.
pub(super) fn leaf(
    public: &PublicKey,
    id: &SpiffeId,
    validity: Validity,
    intermediate: &Intermediate,
) -> Made<CertificateDer<'static>> {
    let mut params = params(validity)?;
    let uri = id.as_str().try_into().map_err(|_| "the id is not ASCII")?;
    // The subject is empty: that makes the alternative names critical.
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    signed(&params, public, &intermediate.certificate, &intermediate.key)
}

fn signed(
    params: &CertificateParams,
    public: &impl PublicKeyData,
    issuer: &CertificateDer<'_>,
    key: &Key,
) -> Made<CertificateDer<'static>> {
    let issuer = Issuer::from_ca_cert_der(issuer, key.pair());
    let issuer = issuer.map_err(|_| "the issuer's certificate cannot be read")?;
    let certificate = params.signed_by(public, &issuer).map_err(|_| "it cannot be signed")?;
    Ok(certificate.into())
}

fn authority(
    trust_domain: &TrustDomain,
    kind: &str,
    constraints: BasicConstraints,
    validity: Validity,
) -> Made<CertificateParams> {
    let mut params = params(validity)?;
    // Names are not unique where roots overlap; the serial number tells them apart.
    let serial = hex::encode(params.serial_number.as_ref().map_or(&[][..], AsRef::as_ref));
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "airhost");
    name.push(DnType::CommonName, format!("{kind} {}", &serial[..16]));
    params.distinguished_name = name;
    let uri = format!("spiffe://{trust_domain}").try_into();
    params.subject_alt_names =
        vec![SanType::URI(uri.map_err(|_| "the trust domain is not ASCII")?)];
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What all certificates have: a serial number of 128 random bits, and their time.
fn params(validity: Validity) -> Made<CertificateParams> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| "there are no random numbers")?;
    let moment = |second| {
        OffsetDateTime::from_unix_timestamp(second).map_err(|_| "the clock is out of range")
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(validity.not_before)?;
    params.not_after = moment(validity.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The key of a signing request, whose holder has signed it.
pub(super) fn requested_key(
    csr: &CertificateSigningRequestDer<'_>,
    id: &SpiffeId,
) -> Result<PublicKey, IssueError> {
    if csr.len() > MAX_REQUEST {
        return Err(IssueError::Request("it is larger than 16 KiB"));
    }
    let request = CertificateSigningRequestParams::from_der(csr)
        .map_err(|_| IssueError::Request("it is not a request that its own key has signed"))?;
    let key = request.public_key;
    let p256 = *key.algorithm() == rcgen::PKCS_ECDSA_P256_SHA256
        && key.der_bytes().len() == P256_POINT
        && key.der_bytes()[0] == 4;
    if !p256 {
        return Err(IssueError::Request("its key is not one of ECDSA P-256"));
    }
    if matches!(request.params.is_ca, IsCa::Ca(_)) {
        return Err(IssueError::Request("it asks for the certificate of an authority"));
    }
    let names_other =
        |name: &SanType| !matches!(name, SanType::URI(uri) if uri.as_str() == id.as_str());
    if request.params.subject_alt_names.iter().any(names_other) {
        return Err(IssueError::Request("it names something else than the identity"));
    }
    Ok(key)
}
