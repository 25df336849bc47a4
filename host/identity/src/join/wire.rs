//! What joining and renewing nodes send and get, as JSON.

use airhost_core::{ServiceName, SpiffeId, TrustDomain};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::NodeName;
use crate::bundle::Fingerprint;

/// Bytes in DER, as Base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| D::Error::custom("not Base64"))
    }
}

/// A request for a service's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCsr {
    /// The service.
    pub service: ServiceName,
    /// PKCS #10.
    pub csr: Der,
}

/// A service's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChain {
    /// The service.
    pub service: ServiceName,
    /// The leaf and its intermediates.
    pub chain: Vec<Der>,
}

/// A node asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The id of the token.
    pub token: String,
    /// The node.
    pub node: NodeName,
    /// The signature of everything else with the token's secret (Ed25519).
    pub proof: Der,
    /// PKCS #10 for the node itself.
    pub node_csr: Der,
    /// Requests for services that the node runs: 256 at most.
    pub services: Vec<ServiceCsr>,
}

impl JoinRequest {
    /// What the proof signs: every part with its length before it, so that none can be moved into
    /// another, and the roots, so that it is good for one authority.
    pub(super) fn signed(&self, roots: &[Fingerprint]) -> Vec<u8> {
        let mut signed = b"airhost join 1\0".to_vec();
        let mut part = |bytes: &[u8]| {
            signed.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            signed.extend_from_slice(bytes);
        };
        roots.iter().for_each(|root| part(root.as_bytes()));
        part(self.token.as_bytes());
        part(self.node.as_str().as_bytes());
        part(&self.node_csr.0);
        for ServiceCsr { service, csr } in &self.services {
            part(service.as_str().as_bytes());
            part(&csr.0);
        }
        signed
    }
}

/// The node is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The node's certificate and its intermediates.
    pub node: Vec<Der>,
    /// Those of the services.
    pub services: Vec<ServiceChain>,
    /// What is to be trusted: a SPIFFE bundle.
    pub bundle: String,
}

/// A node that has joined asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Whose: its own, or that of a service that it runs.
    pub id: SpiffeId,
    /// PKCS #10.
    pub csr: Der,
}

/// A renewed certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewReply {
    /// The leaf and its intermediates.
    pub chain: Vec<Der>,
    /// What is to be trusted: a SPIFFE bundle.
    pub bundle: String,
}

impl RenewReply {
    /// As a [`Signer`](crate::issuer::Signer) answers it.
    ///
    /// # Errors
    /// [`IssueError::Bundle`](crate::issuer::IssueError::Bundle) if the bundle is not right.
    pub fn signed(
        &self,
        trust_domain: &TrustDomain,
    ) -> Result<crate::issuer::Signed, crate::issuer::IssueError> {
        let bundle = crate::bundle::TrustBundle::from_json(trust_domain.clone(), &self.bundle)?;
        Ok(crate::issuer::Signed { chain: chain(&self.chain), bundle })
    }
}

/// As certificates.
pub(super) fn chain(chain: &[Der]) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    chain.iter().map(|der| der.0.clone().into()).collect()
}
