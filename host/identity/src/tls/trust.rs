use std::{fmt, sync::Arc};

use airhost_core::{Clock, SpiffeId, TrustDomain};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, UnixTime},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{refused, unix_time};
use crate::{
    bundle::TrustBundle,
    svid::{SvidError, peer_id},
};

/// What is trusted: one snapshot, replaced as a whole.
pub(crate) struct Trust {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced, so that two changes do not undo each other.
    changing: Mutex<()>,
    provider: Arc<CryptoProvider>,
    clock: Clock,
}

struct Snapshot {
    bundle: TrustBundle,
    aliases: Vec<TrustDomain>,
    /// The roots that are valid at `since`. X.509 path validation looks at no root's validity.
    roots: RootCertStore,
    /// Verifies clients; none while no root is valid.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    since: i64,
    /// The second when the set of valid roots is another.
    until: i64,
}

impl Trust {
    pub(crate) fn new(
        bundle: TrustBundle,
        aliases: Vec<TrustDomain>,
        provider: Arc<CryptoProvider>,
        clock: Clock,
    ) -> Self {
        let now = crate::svid::seconds(&clock);
        let snapshot = Snapshot::new(bundle, aliases, &provider, now);
        let current = ArcSwap::from_pointee(snapshot);
        Self { current, changing: Mutex::default(), provider, clock }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        self.current.load().bundle.clone()
    }

    pub(crate) fn aliases(&self) -> Vec<TrustDomain> {
        self.current.load().aliases.clone()
    }

    pub(crate) fn set_bundle(&self, bundle: TrustBundle) -> bool {
        let _changing = self.changing.lock();
        let current = self.current.load();
        let changed = current.bundle != bundle;
        self.replace(bundle, current.aliases.clone());
        changed
    }

    pub(crate) fn set_aliases(&self, aliases: Vec<TrustDomain>) {
        let _changing = self.changing.lock();
        self.replace(self.current.load().bundle.clone(), aliases);
    }

    fn replace(&self, bundle: TrustBundle, aliases: Vec<TrustDomain>) {
        let now = crate::svid::seconds(&self.clock);
        self.current.store(Arc::new(Snapshot::new(bundle, aliases, &self.provider, now)));
    }

    /// The snapshot for this moment: roots come into force and run out without anybody's doing.
    fn at(&self, now: UnixTime) -> Arc<Snapshot> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let snapshot = self.current.load_full();
        if (snapshot.since..snapshot.until).contains(&now) {
            return snapshot;
        }
        let _changing = self.changing.lock();
        let snapshot = self.current.load_full();
        let (bundle, aliases) = (snapshot.bundle.clone(), snapshot.aliases.clone());
        let snapshot = Arc::new(Snapshot::new(bundle, aliases, &self.provider, now));
        self.current.store(Arc::clone(&snapshot));
        snapshot
    }

    /// Who showed this chain, if it may be a client now.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<SpiffeId, rustls::Error> {
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refused(SvidError::Chain))?;
        self.verify_client(leaf, intermediates, unix_time(&self.clock))
    }

    pub(super) fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, rustls::Error> {
        let id = peer_id(std::slice::from_ref(leaf)).map_err(refused)?;
        let snapshot = self.at(now);
        if !snapshot.is_ours(&id) {
            return Err(refused(SvidError::ForeignTrustDomain(id)));
        }
        let Some(clients) = &snapshot.clients else {
            return Err(rustls::CertificateError::UnknownIssuer.into());
        };
        clients.verify_client_cert(leaf, intermediates, now)?;
        Ok(id)
    }

    pub(super) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        expected: &[SpiffeId],
        now: UnixTime,
    ) -> Result<SpiffeId, rustls::Error> {
        let id = peer_id(std::slice::from_ref(leaf)).map_err(refused)?;
        if !expected.contains(&id) {
            return Err(refused(SvidError::Unexpected { found: id, expected: expected.to_vec() }));
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let roots = &self.at(now).roots;
        let algorithms = self.algorithms().all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        Ok(id)
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("bundle", &self.current.load().bundle).finish_non_exhaustive()
    }
}

impl Snapshot {
    fn new(
        bundle: TrustBundle,
        aliases: Vec<TrustDomain>,
        provider: &Arc<CryptoProvider>,
        now: i64,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let mut until = i64::MAX;
        for root in bundle.roots() {
            let validity = root.validity();
            if now < validity.not_before {
                until = until.min(validity.not_before);
            } else if now <= validity.not_after {
                until = until.min(validity.not_after.saturating_add(1));
                if let Err(error) = roots.add(root.certificate().clone()) {
                    tracing::error!(root = %root.fingerprint(), %error, "a root cannot be used");
                }
            } else {
                tracing::warn!(root = %root.fingerprint(), "a root of the trust bundle has expired");
            }
        }
        let store = Arc::new(roots.clone());
        let clients = WebPkiClientVerifier::builder_with_provider(store, Arc::clone(provider));
        // Fails for an empty store alone.
        let clients = clients.build().ok();
        Self { bundle, aliases, roots, clients, since: now, until }
    }

    fn is_ours(&self, id: &SpiffeId) -> bool {
        let domain = id.trust_domain();
        self.bundle.trust_domain().as_str() == domain
            || self.aliases.iter().any(|alias| alias.as_str() == domain)
    }
}
