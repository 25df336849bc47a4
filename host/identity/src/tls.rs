//! TLS between services and nodes: both sides show an X.509-SVID, and are who it says.
//!
//! [`Identities`] holds the certificates of this node and what it trusts. The configurations that
//! it gives out look both up in every handshake, so that a rotated certificate or a changed trust
//! bundle takes effect with the next connection: nothing that listens or connects is built anew,
//! and connections that are open stay open ([`Identities::still_trusted`] says which should not).
//!
//! TLS 1.3 alone, with AES-GCM and ChaCha20-Poly1305. Sessions are not resumed: a resumed handshake
//! shows no certificate, so a ticket would carry yesterday's trust past a change of the bundle, a
//! rotation or the end of a certificate. Connections between nodes are few and long-lived, and a
//! full handshake costs both sides together less than a millisecond.

mod held;
mod names;
mod trust;
mod verifier;

use std::{collections::HashMap, fmt, sync::Arc};

use airhost_core::{Clock, SpiffeId, TrustDomain};
use parking_lot::RwLock;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring as suites},
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, ResolvesServerCert},
    version::TLS13,
};

use crate::{
    bundle::TrustBundle,
    svid::{Svid, SvidError, seconds},
};
pub(crate) use held::WallClock;
use held::{Held, Shown, unix_time};
pub use names::{requested_id, server_name};
pub(crate) use trust::Trust;
pub(crate) use verifier::PinnedRoot;
use verifier::{ClientVerifier, ServerVerifier};

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This node has no certificate for the identity.
    #[error("this node has no certificate of {0}")]
    NotHeld(SpiffeId),
    /// The certificate is not one that others would accept.
    #[error("the certificate of {id} cannot be used: {reason}")]
    Unusable {
        /// Whose it is.
        id: SpiffeId,
        /// What is wrong with it.
        reason: String,
    },
    /// The cryptography refuses the configuration.
    #[error("TLS cannot be configured: {0}")]
    Configuration(String),
}

/// Whether a client has to show who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificate {
    /// The handshake fails without one (`STRICT`).
    Required,
    /// A client without one goes on, and is nobody (`PERMISSIVE`). One that is shown has to be
    /// right.
    Optional,
}

/// What is spoken on a connection (ALPN), the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocols {
    /// `h2`, then `http/1.1`.
    H2AndHttp1,
    /// `h2` alone.
    H2,
    /// `http/1.1` alone.
    Http1,
}

impl Protocols {
    pub(crate) fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::H2AndHttp1 => &[b"h2", b"http/1.1"],
            Self::H2 => &[b"h2"],
            Self::Http1 => &[b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// The identities that this node has certificates of, and what it trusts. One a node; cheap to
/// clone.
#[derive(Clone)]
pub struct Identities(Arc<Inner>);

struct Inner {
    trust: Arc<Trust>,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    held: RwLock<HashMap<SpiffeId, Arc<Held>>>,
}

impl Identities {
    /// No certificates yet, and this trust bundle. Certificates of the aliases are accepted like
    /// those of the bundle's own trust domain, if the same roots vouch for them.
    #[must_use]
    pub fn new(bundle: TrustBundle, aliases: Vec<TrustDomain>, clock: Clock) -> Self {
        let provider = provider();
        let trust = Arc::new(Trust::new(bundle, aliases, Arc::clone(&provider), clock.clone()));
        Self(Arc::new(Inner { trust, clock, provider, held: RwLock::default() }))
    }

    /// What is trusted now.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        self.0.trust.bundle()
    }

    /// Trusts another bundle, from the next handshake on. Answers whether it is another.
    pub fn set_bundle(&self, bundle: TrustBundle) -> bool {
        self.0.trust.set_bundle(bundle)
    }

    /// Takes other aliases, from the next handshake on.
    pub fn set_aliases(&self, aliases: Vec<TrustDomain>) {
        self.0.trust.set_aliases(aliases);
    }

    /// Uses a certificate from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if it is not valid now, or the trust bundle does not vouch for it:
    /// others would refuse it, and the one before may still be good.
    pub fn install(&self, svid: Svid) -> Result<(), TlsError> {
        self.check(&svid, &self.0.trust)?;
        let mut held = self.0.held.write();
        let held = held
            .entry(svid.id().clone())
            .or_insert_with(|| Arc::new(Held::new(svid.id().clone(), self.0.clock.clone())));
        held.current.store(Some(Arc::new(svid)));
        Ok(())
    }

    /// Checks a certificate as [`Identities::install`] would if this bundle were trusted.
    pub(crate) fn check_against(&self, svid: &Svid, bundle: &TrustBundle) -> Result<(), TlsError> {
        let trust = Trust::new(
            bundle.clone(),
            self.0.trust.aliases(),
            Arc::clone(&self.0.provider),
            self.0.clock.clone(),
        );
        self.check(svid, &trust)
    }

    fn check(&self, svid: &Svid, trust: &Trust) -> Result<(), TlsError> {
        let unusable = |reason: String| TlsError::Unusable { id: svid.id().clone(), reason };
        if !svid.validity().contains(seconds(&self.0.clock)) {
            return Err(unusable("it is not valid now".to_owned()));
        }
        trust.verify(svid.chain()).map(drop).map_err(|error| unusable(error.to_string()))
    }

    /// Forgets the certificate of an identity. Configurations that were given out for it find none
    /// from now on, and their handshakes fail. Answers whether there was one.
    pub fn remove(&self, id: &SpiffeId) -> bool {
        let held = self.0.held.write().remove(id);
        held.is_some_and(|held| held.current.swap(None).is_some())
    }

    /// The certificate of an identity, also one that is not valid any more.
    #[must_use]
    pub fn svid(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        self.0.held.read().get(id)?.current.load_full()
    }

    /// The certificate of an identity, if it is valid now.
    #[must_use]
    pub fn valid_svid(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        self.0.held.read().get(id)?.valid()
    }

    /// Everybody there is a certificate of, by id.
    #[must_use]
    pub fn held(&self) -> Vec<SpiffeId> {
        let mut ids = self.0.held.read().keys().cloned().collect::<Vec<_>>();
        ids.sort();
        ids
    }

    /// The server side of an identity. It asks the client for a certificate, verifies it against
    /// the bundle, and accepts those of our trust domain and its aliases.
    ///
    /// It is made once and follows rotation; a listener for many services picks one for every
    /// handshake, by the server name that the client asks for ([`requested_id`]).
    ///
    /// # Errors
    /// [`TlsError::NotHeld`].
    pub fn server_config(
        &self,
        id: &SpiffeId,
        client: ClientCertificate,
        protocols: Protocols,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let held = self.held_place(id)?;
        let mut servers = held.servers.lock();
        let made = servers.iter().find(|(c, p, _)| (*c, *p) == (client, protocols));
        if let Some((_, _, config)) = made {
            return Ok(Arc::clone(config));
        }
        let resolver = Arc::new(Shown { held: Arc::clone(&held), with_roots: None });
        let config = Arc::new(self.server(client, protocols, resolver)?);
        servers.push((client, protocols, Arc::clone(&config)));
        Ok(config)
    }

    /// The server side of the node that others join at: client certificates are optional, since
    /// who joins has none yet, and the roots are shown with the chain, since who joins knows no
    /// more of them than a digest.
    ///
    /// # Errors
    /// [`TlsError::NotHeld`].
    pub fn join_server_config(
        &self,
        node: &SpiffeId,
        protocols: Protocols,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let held = self.held_place(node)?;
        let trust = Some(Arc::clone(&self.0.trust));
        let resolver = Arc::new(Shown { held, with_roots: trust });
        self.server(ClientCertificate::Optional, protocols, resolver).map(Arc::new)
    }

    fn server(
        &self,
        client: ClientCertificate,
        protocols: Protocols,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, TlsError> {
        let verifier = ClientVerifier::new(Arc::clone(&self.0.trust), client);
        let time = Arc::new(WallClock(self.0.clock.clone()));
        let mut config = ServerConfig::builder_with_details(Arc::clone(&self.0.provider), time)
            .with_protocol_versions(&[&TLS13])
            .map_err(configuration)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.names();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// The client side: shows the certificate of `from`, and accepts a server only if its whole
    /// URI is one of the expected ids.
    ///
    /// It follows rotation: keep it for as long as the expected ids are the same.
    ///
    /// # Errors
    /// [`TlsError::NotHeld`].
    pub fn client_config(
        &self,
        from: &SpiffeId,
        expected: &[SpiffeId],
        protocols: Protocols,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let held = self.held_place(from)?;
        let verifier = ServerVerifier::new(Arc::clone(&self.0.trust), expected.into());
        let time = Arc::new(WallClock(self.0.clock.clone()));
        let mut config = ClientConfig::builder_with_details(Arc::clone(&self.0.provider), time)
            .with_protocol_versions(&[&TLS13])
            .map_err(configuration)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Shown { held, with_roots: None }));
        config.alpn_protocols = protocols.names();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Who showed this chain, if it would be accepted in a handshake now. A connection whose peer
    /// is not trusted any more, because a root left the bundle, an alias was removed or the
    /// certificate ran out, should be closed.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<SpiffeId, rustls::Error> {
        self.0.trust.verify(chain)
    }

    /// Whether the peer of an open connection would be accepted in a handshake now.
    #[must_use]
    pub fn still_trusted(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.verify(chain).is_ok()
    }

    fn held_place(&self, id: &SpiffeId) -> Result<Arc<Held>, TlsError> {
        let held = self.0.held.read();
        held.get(id).cloned().ok_or_else(|| TlsError::NotHeld(id.clone()))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// The cryptography: `ring`, with the cipher suites of TLS 1.3.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suites::cipher_suite::TLS13_AES_256_GCM_SHA384,
            suites::cipher_suite::TLS13_AES_128_GCM_SHA256,
            suites::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..suites::default_provider()
    })
}

pub(crate) fn configuration(error: impl fmt::Display) -> TlsError {
    TlsError::Configuration(error.to_string())
}

/// A refusal by our own rules, as a handshake reports it.
pub(crate) fn refused(error: SvidError) -> rustls::Error {
    let reason: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
    rustls::CertificateError::Other(rustls::OtherError(reason)).into()
}

/// Our own rule that a handshake failed on, if it was one.
#[must_use]
pub fn broken_rule(error: &rustls::Error) -> Option<&SvidError> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
