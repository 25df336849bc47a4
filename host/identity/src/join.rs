//! Joining: how a new node comes to its first certificate, and renews it and those of its services.
//!
//! `airhost node invite` makes an [`Invitation`](Invitations): good for one node, once, for an hour.
//! The [`JoinToken`] that is carried to the new node has a random secret, the address to join at and
//! the SHA-256 digests of the roots, so that the new node knows who answers before it says anything
//! ([`Joining::client_config`]).
//!
//! The secret is the seed of an Ed25519 key, and never travels: the new node signs its request with
//! it, and the inviting side keeps the public key. So neither its file nor what is sent lets
//! anybody else join, and the signing requests cannot be exchanged on the way.
//!
//! Once joined, a node authenticates with its own certificate, and may have certificates for the
//! services that it runs ([`Placement`]). The HTTP between the two is done elsewhere.

mod credentials;
mod invitations;
mod joining;
mod node_name;
mod token;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use airhost_core::{Result, ServiceName, SpiffeId, codes};
use rustls::pki_types::CertificateSigningRequestDer;

use crate::{
    authority::{Authority, MAX_TTL},
    bundle::Root,
    issuer::IssueError,
};
pub use credentials::{Credentials, CredentialsFile};
pub use invitations::{Invitation, Invitations};
pub use joining::{Joined, Joining};
pub use node_name::{NodeName, NodeNameError};
pub use token::JoinToken;
pub use wire::{Der, JoinReply, JoinRequest, RenewReply, RenewRequest, ServiceChain, ServiceCsr};

/// Identities in one request, at most.
const MAX_IDENTITIES: usize = 256;

/// How long an invitation is good where nothing else is asked for.
pub const INVITATION_LIFE: Duration = Duration::from_secs(3600);

/// Which services a node runs.
pub trait Placement: Send + Sync {
    /// Whether the node may have certificates of the service.
    fn may_issue(&self, node: &NodeName, service: &ServiceName) -> bool;
}

/// The inviting side: answers the requests of nodes with certificates of the own authority.
///
/// What it does writes files and signs: call it where blocking is allowed.
#[derive(Clone)]
pub struct Registrar {
    authority: Authority,
    invitations: Invitations,
    placement: Arc<dyn Placement>,
}

impl Registrar {
    /// For this authority.
    #[must_use]
    pub fn new(
        authority: Authority,
        invitations: Invitations,
        placement: Arc<dyn Placement>,
    ) -> Self {
        Self { authority, invitations, placement }
    }

    /// Invites a node to join at an address (`host:port`) for so long.
    ///
    /// # Errors
    /// See [`Invitations::invite`].
    pub fn invite(&self, node: &NodeName, address: &str, life: Duration) -> Result<JoinToken> {
        let bundle = self.authority.bundle().map_err(|error| error.to_core())?;
        let roots = bundle.roots().iter().map(Root::fingerprint).collect();
        self.invitations.invite(node, address, self.authority.trust_domain(), roots, life)
    }

    /// The open invitations.
    #[must_use]
    pub fn invitations(&self) -> &Invitations {
        &self.invitations
    }

    /// Lets a node in, once: certificates for itself and for services that it runs.
    ///
    /// # Errors
    /// `identity.join-refused` if the invitation is unknown, used, for another node, or the request
    /// was not signed with its secret; `identity.join-expired`; `identity.denied` for a service
    /// that the node does not run; `identity.request-invalid`. Only a request that is answered with
    /// certificates uses the invitation up.
    pub fn join(&self, request: &JoinRequest) -> Result<JoinReply> {
        if request.services.len() > MAX_IDENTITIES {
            return Err(codes::IDENTITY_REQUEST.error("it asks for more than 256 services"));
        }
        self.invitations.check(request)?;
        let domain = self.authority.trust_domain();
        let node = self.chain(&request.node.identity(domain), &request.node_csr, MAX_TTL)?;
        let mut services = Vec::with_capacity(request.services.len());
        for ServiceCsr { service, csr } in &request.services {
            self.check_placement(&request.node, service)?;
            let chain = self.chain(&domain.identity(service), csr, self.authority.leaf_ttl())?;
            services.push(ServiceChain { service: service.clone(), chain });
        }
        let bundle = self.bundle()?;
        // The last thing that can fail: what was signed goes nowhere if another was quicker.
        self.invitations.use_up(&request.token)?;
        tracing::info!(node = %request.node, services = services.len(), "a node has joined");
        Ok(JoinReply { trust_domain: domain.clone(), node, services, bundle })
    }

    /// Renews certificates for a node that has shown its own in the handshake.
    ///
    /// # Errors
    /// `identity.denied` if the peer is not a node of this trust domain or asks for a service that
    /// it does not run, or for another node; `identity.request-invalid`; `identity.authority`.
    pub fn renew(&self, peer: &SpiffeId, request: &RenewRequest) -> Result<RenewReply> {
        let domain = self.authority.trust_domain();
        let Some(node) = NodeName::of(peer, domain) else {
            return Err(codes::IDENTITY_DENIED.error(format!("{peer} is not a node")));
        };
        let ttl = if request.id == *peer {
            MAX_TTL
        } else if let Some(service) = request.id.service() {
            self.check_placement(&node, &service)?;
            self.authority.leaf_ttl()
        } else {
            let message = format!("{node} may not have a certificate of {}", request.id);
            return Err(codes::IDENTITY_DENIED.error(message));
        };
        let chain = self.chain(&request.id, &request.csr, ttl)?;
        Ok(RenewReply { chain, bundle: self.bundle()? })
    }

    fn check_placement(&self, node: &NodeName, service: &ServiceName) -> Result<()> {
        if self.placement.may_issue(node, service) {
            return Ok(());
        }
        Err(codes::IDENTITY_DENIED.error(format!("{node} does not run {service}")))
    }

    fn chain(&self, id: &SpiffeId, csr: &Der, ttl: Duration) -> Result<Vec<Der>> {
        let csr = CertificateSigningRequestDer::from(csr.0.as_slice());
        let chain = self.authority.sign(&csr, id, ttl).map_err(|error| error.to_core())?;
        Ok(chain.iter().map(|certificate| Der(certificate.to_vec())).collect())
    }

    /// What is to be trusted, as JSON.
    fn bundle(&self) -> Result<String> {
        let bundle = self.authority.bundle().map_err(|error: IssueError| error.to_core())?;
        Ok(bundle.to_json())
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("authority", &self.authority).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
