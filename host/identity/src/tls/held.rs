//! What is shown in handshakes: the certificate of the moment.

use std::{fmt, sync::Arc, time::Duration};

use airhost_core::{Clock, SpiffeId};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::{
    ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::UnixTime,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};

use super::{ClientCertificate, Protocols, Trust};
use crate::svid::{Svid, seconds};

/// The place of one identity's certificate.
pub(super) struct Held {
    id: SpiffeId,
    pub(super) current: ArcSwapOption<Svid>,
    clock: Clock,
    /// At most one for each of the six combinations.
    pub(super) servers: Mutex<Vec<(ClientCertificate, Protocols, Arc<ServerConfig>)>>,
}

impl Held {
    pub(super) fn new(id: SpiffeId, clock: Clock) -> Self {
        Self { id, current: ArcSwapOption::empty(), clock, servers: Mutex::default() }
    }

    /// The certificate, if it is valid now.
    pub(super) fn valid(&self) -> Option<Arc<Svid>> {
        let now = seconds(&self.clock);
        self.current.load_full().filter(|svid| svid.validity().contains(now))
    }
}

/// Shows the certificate that is held when the handshake comes. One that is not valid is not
/// shown: the peer would refuse it with a less telling alert.
pub(super) struct Shown {
    pub(super) held: Arc<Held>,
    /// Whose roots are shown after the chain.
    pub(super) with_roots: Option<Arc<Trust>>,
}

impl Shown {
    fn current(&self) -> Option<Arc<CertifiedKey>> {
        let Some(svid) = self.held.valid() else {
            tracing::warn!(identity = %self.held.id, "there is no valid certificate for a handshake");
            return None;
        };
        let Some(trust) = &self.with_roots else { return Some(Arc::clone(svid.certified_key())) };
        let key = svid.certified_key();
        let bundle = trust.bundle();
        let roots = bundle.roots().iter().map(|root| root.certificate().clone());
        let chain = key.cert.iter().cloned().chain(roots).collect();
        Some(Arc::new(CertifiedKey::new(chain, Arc::clone(&key.key))))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.held.id).finish()
    }
}

/// The host's clock as that of handshakes.
#[derive(Debug)]
pub(crate) struct WallClock(pub(crate) Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&self.0))
    }
}

pub(crate) fn unix_time(clock: &Clock) -> UnixTime {
    let seconds = u64::try_from(seconds(clock)).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
