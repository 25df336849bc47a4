use std::fmt;

use airhost_core::SpiffeId;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use zeroize::Zeroize;

/// An ECDSA P-256 key. Its serialised form is wiped when it is let go; the copy in `ring`, which
/// signs with it, is not.
pub(crate) struct Key(KeyPair);

impl Key {
    pub(crate) fn generate() -> Option<Self> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok().map(Self)
    }

    /// Reads PKCS #8 in DER. A public key in it that does not fit is refused.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from(der);
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).ok().map(Self)
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// The public key as `SubjectPublicKeyInfo` in DER.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// A PKCS #10 request that names the id and nothing else.
    pub(crate) fn request(&self, id: &SpiffeId) -> Option<CertificateSigningRequestDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().ok()?)];
        params.serialize_request(&self.0).ok().map(Into::into)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
