use std::sync::Arc;

use airhost_core::{Clock, Error, Result, ServiceName, codes};
use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::{CertificateDer, ServerName},
    version::TLS13,
};

use super::{
    CredentialsFile, Der, JoinReply, JoinRequest, JoinToken, ServiceCsr, node_name::NAMESPACE,
    token::JOIN_SERVER, wire,
};
use crate::{
    at_rest::FileError,
    bundle::TrustBundle,
    svid::{Svid, SvidRequest},
    tls::{Identities, PinnedRoot, Protocols, TlsError, WallClock, configuration, provider},
};

/// A node that is about to join: its keys, and the request for their certificates.
#[derive(Debug)]
pub struct Joining {
    token: JoinToken,
    node: SvidRequest,
    services: Vec<(ServiceName, SvidRequest)>,
    request: JoinRequest,
}

impl Joining {
    /// Makes a key for the node and for each of these services that it is to run.
    ///
    /// # Errors
    /// `identity.authority` if no keys can be made.
    pub fn new(token: JoinToken, services: &[ServiceName]) -> Result<Self> {
        let make = |id| {
            SvidRequest::new(id).map_err(|error| codes::IDENTITY_AUTHORITY.error(error.to_string()))
        };
        let node = make(token.node().identity(token.trust_domain()))?;
        let mut keys = Vec::with_capacity(services.len());
        for service in services {
            keys.push((service.clone(), make(token.trust_domain().identity(service))?));
        }
        let der = |request: &SvidRequest| Der(request.csr().to_vec());
        let mut request = JoinRequest {
            token: token.id(),
            node: token.node().clone(),
            proof: Der(Vec::new()),
            node_csr: der(&node),
            services: keys
                .iter()
                .map(|(service, key)| ServiceCsr { service: service.clone(), csr: der(key) })
                .collect(),
        };
        let proof = token.key()?.sign(&request.signed(token.roots()));
        request.proof = Der(proof.as_ref().to_vec());
        Ok(Self { token, node, services: keys, request })
    }

    /// What is sent.
    #[must_use]
    pub fn request(&self) -> &JoinRequest {
        &self.request
    }

    /// The server name to connect with.
    #[must_use]
    pub fn server_name(&self) -> Option<ServerName<'static>> {
        let domain = self.token.trust_domain();
        ServerName::try_from(format!("{JOIN_SERVER}.{NAMESPACE}.svc.{domain}")).ok()
    }

    /// TLS to the inviting node: it has to show a root that the token names, and a certificate of
    /// the trust domain below it. Nothing is sent to anybody else.
    ///
    /// # Errors
    /// [`TlsError::Configuration`].
    pub fn client_config(
        &self,
        clock: &Clock,
        protocols: Protocols,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let (roots, domain) = (self.token.roots().to_vec(), self.token.trust_domain().clone());
        let verifier = PinnedRoot::new(roots, domain, Arc::clone(&provider));
        let time = Arc::new(WallClock(clock.clone()));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .map_err(configuration)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = protocols.names();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Takes the certificates, if they are for the keys that were made, for everybody that was
    /// asked for, valid now, and the bundle has a root that the token names and vouches for all.
    ///
    /// # Errors
    /// `identity.join-reply`.
    pub fn accept(&self, reply: &JoinReply, clock: &Clock) -> Result<Joined> {
        let domain = self.token.trust_domain();
        if reply.trust_domain != *domain {
            return Err(refused("it is of another trust domain"));
        }
        let bundle = TrustBundle::from_json(domain.clone(), &reply.bundle).map_err(refused)?;
        if !self.token.roots().iter().any(|root| bundle.contains(*root)) {
            return Err(refused("its trust bundle lacks the roots of the join token"));
        }
        let trusted = Identities::new(bundle.clone(), Vec::new(), clock.clone());
        let complete = |request: &SvidRequest, chain: Vec<CertificateDer<'static>>| {
            let svid = request.complete(chain).map_err(refused)?;
            trusted.install(svid.clone()).map_err(refused)?;
            Ok::<_, Error>(svid)
        };
        let node = complete(&self.node, wire::chain(&reply.node))?;
        let mut services = Vec::with_capacity(self.services.len());
        for (service, request) in &self.services {
            let chain = reply.services.iter().find(|chain| chain.service == *service);
            let chain = chain.ok_or_else(|| refused(format!("it lacks {service}")))?;
            services.push(complete(request, wire::chain(&chain.chain))?);
        }
        Ok(Joined { node, services, bundle })
    }

    /// Writes the node's certificate and key, so that the node can renew after a restart.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn save(&self, joined: &Joined, file: &CredentialsFile) -> Result<(), FileError> {
        file.save(&self.node, joined.node.chain(), &joined.bundle)
    }
}

/// What a node has once it has joined.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its own certificate.
    pub node: Svid,
    /// Those of its services, in the order they were asked for.
    pub services: Vec<Svid>,
    /// What is to be trusted.
    pub bundle: TrustBundle,
}

fn refused(reason: impl std::fmt::Display) -> Error {
    codes::IDENTITY_JOIN_REPLY.error(format!("the answer to the join request is refused: {reason}"))
}
