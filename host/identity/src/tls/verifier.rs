use std::sync::Arc;

use airhost_core::{SpiffeId, TrustDomain};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{ClientCertificate, Trust, refused};
use crate::{
    bundle::Fingerprint,
    svid::{SvidError, peer_id},
};

/// What is answered to signatures of TLS 1.2, which is not configured.
fn never() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not configured".to_owned())
}

/// Verifies clients against what is trusted when the handshake comes.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust: Arc<Trust>,
    certificate: ClientCertificate,
}

impl ClientVerifier {
    pub(super) fn new(trust: Arc<Trust>, certificate: ClientCertificate) -> Self {
        Self { trust, certificate }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.certificate == ClientCertificate::Required
    }

    /// None: a client has one certificate to show, and hints would go stale with the bundle.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.trust.verify_client(leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms().supported_schemes()
    }
}

/// Verifies servers against what is trusted when the handshake comes, and against who is expected.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Arc<Trust>,
    expected: Arc<[SpiffeId]>,
}

impl ServerVerifier {
    pub(super) fn new(trust: Arc<Trust>, expected: Arc<[SpiffeId]>) -> Self {
        Self { trust, expected }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trust.verify_server(leaf, intermediates, &self.expected, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms().supported_schemes()
    }
}

/// Verifies the server that a node joins at, of which nothing is known but the digests of its roots:
/// the one it stands on has to be among the certificates that the server shows.
#[derive(Debug)]
pub(crate) struct PinnedRoot {
    roots: Vec<Fingerprint>,
    trust_domain: TrustDomain,
    provider: Arc<CryptoProvider>,
}

impl PinnedRoot {
    pub(crate) fn new(
        roots: Vec<Fingerprint>,
        trust_domain: TrustDomain,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { roots, trust_domain, provider }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let id = peer_id(std::slice::from_ref(leaf)).map_err(refused)?;
        if id.trust_domain() != self.trust_domain.as_str() {
            return Err(refused(SvidError::ForeignTrustDomain(id)));
        }
        let mut roots = RootCertStore::empty();
        let pinned = |shown: &&CertificateDer<'_>| self.roots.contains(&Fingerprint::of(shown));
        for root in intermediates.iter().filter(pinned) {
            roots.add(root.clone().into_owned())?;
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms().all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
