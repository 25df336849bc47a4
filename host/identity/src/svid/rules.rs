//! What the SPIFFE X.509-SVID standard asks of a leaf certificate.

use airhost_core::SpiffeId;
use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
    },
    prelude::FromDer,
    x509::X509Version,
};

use super::{SvidError, Validity};

/// Tag of a URI among the alternative names (RFC 5280, `GeneralName`).
const URI_TAG: u32 = 6;

/// Who showed this chain, the leaf first: the identity of its one URI name, if the leaf is an
/// X.509-SVID by every rule of the standard.
///
/// Nothing is said about who signed it, or when it is valid: use it on what
/// `peer_certificates()` of a finished handshake answers, where both were verified.
///
/// # Errors
/// The first rule that is broken.
pub fn peer_id(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, SvidError> {
    let leaf = parse(chain.first().ok_or(SvidError::Chain)?)?;
    let names = extension(&leaf, &OID_X509_EXT_SUBJECT_ALT_NAME)?;
    let (names_critical, uris) = match names {
        None => return Err(SvidError::UriNames(0)),
        Some((critical, ParsedExtension::SubjectAlternativeName(names))) => {
            let mut uris = Vec::new();
            for name in &names.general_names {
                match name {
                    GeneralName::URI(uri) => uris.push(Some(*uri)),
                    GeneralName::Invalid(tag, _) if tag.0 == URI_TAG => uris.push(None),
                    GeneralName::Invalid(..) => return Err(SvidError::Malformed),
                    _ => {}
                }
            }
            (critical, uris)
        }
        Some(_) => return Err(SvidError::Malformed),
    };
    let [uri] = uris.as_slice() else { return Err(SvidError::UriNames(uris.len())) };
    let id = SpiffeId::parse(uri.ok_or(SvidError::Malformed)?)?;
    check_constraints(&leaf)?;
    check_key_usage(&leaf)?;
    check_extended_key_usage(&leaf)?;
    if !names_critical && leaf.subject().iter().next().is_none() {
        return Err(SvidError::NamesNotCritical);
    }
    if id.path().is_empty() {
        return Err(SvidError::NoPath);
    }
    Ok(id)
}

fn check_constraints(leaf: &X509Certificate<'_>) -> Result<(), SvidError> {
    match extension(leaf, &OID_X509_EXT_BASIC_CONSTRAINTS)? {
        Some((_, ParsedExtension::BasicConstraints(constraints))) if constraints.ca => {
            Err(SvidError::Authority)
        }
        // Absent is `cA` false (RFC 5280, section 4.2.1.9).
        None | Some((_, ParsedExtension::BasicConstraints(_))) => Ok(()),
        Some(_) => Err(SvidError::Malformed),
    }
}

fn check_key_usage(leaf: &X509Certificate<'_>) -> Result<(), SvidError> {
    match extension(leaf, &OID_X509_EXT_KEY_USAGE)? {
        None => Err(SvidError::KeyUsage("there is none")),
        Some((critical, ParsedExtension::KeyUsage(usage))) => {
            if usage.key_cert_sign() || usage.crl_sign() {
                Err(SvidError::KeyUsage("it signs certificates or revocation lists"))
            } else if !usage.digital_signature() {
                Err(SvidError::KeyUsage("it does not sign"))
            } else if !critical {
                Err(SvidError::KeyUsage("it is not critical"))
            } else {
                Ok(())
            }
        }
        Some(_) => Err(SvidError::Malformed),
    }
}

fn check_extended_key_usage(leaf: &X509Certificate<'_>) -> Result<(), SvidError> {
    match extension(leaf, &OID_X509_EXT_EXTENDED_KEY_USAGE)? {
        Some((_, ParsedExtension::ExtendedKeyUsage(usage)))
            if !usage.server_auth || !usage.client_auth =>
        {
            Err(SvidError::ExtendedKeyUsage)
        }
        // Absent restricts nothing (RFC 5280, section 4.2.1.12), and the standard leaves it open.
        None | Some((_, ParsedExtension::ExtendedKeyUsage(_))) => Ok(()),
        Some(_) => Err(SvidError::Malformed),
    }
}

/// Whether an extension is critical, and what it says.
fn extension<'a>(
    certificate: &'a X509Certificate<'_>,
    oid: &Oid<'_>,
) -> Result<Option<(bool, &'a ParsedExtension<'a>)>, SvidError> {
    let found = certificate.get_extension_unique(oid).map_err(|_| SvidError::Malformed)?;
    Ok(found.map(|extension| (extension.critical, extension.parsed_extension())))
}

/// Reads a version 3 certificate that fills all of the bytes and has no extension twice.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, SvidError> {
    let (rest, certificate) =
        X509Certificate::from_der(der.as_ref()).map_err(|_| SvidError::Malformed)?;
    let well_formed = rest.is_empty()
        && certificate.version() == X509Version::V3
        && certificate.extensions_map().is_ok();
    if well_formed { Ok(certificate) } else { Err(SvidError::Malformed) }
}

pub(crate) fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    }
}

pub(crate) fn serial_text(certificate: &X509Certificate<'_>) -> String {
    let serial = certificate.raw_serial();
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    hex::encode(&serial[zeros..])
}
