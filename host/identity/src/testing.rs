//! Certificates of every kind, clocks and handshakes, for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use airhost_core::{Clock, SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    bundle::TrustBundle,
    svid::{Key, Svid, Validity},
    tls::{self, broken_rule},
};

/// The second at which tests begin.
pub(crate) const START: i64 = 1_800_000_000;
pub(crate) const HOUR: i64 = 3600;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A wall clock that is set by hand.
#[derive(Clone)]
pub(crate) struct Wall(Arc<AtomicI64>);

impl Wall {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::of(move || now.load(Ordering::Relaxed) * 1_000_000)
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::default()
}

pub(crate) fn id(service: &str) -> SpiffeId {
    domain().identity(&service.parse().unwrap())
}

/// An authority that signs whatever it is given.
#[derive(Debug)]
pub(crate) struct TestAuthority {
    pub(crate) certificate: CertificateDer<'static>,
    params: CertificateParams,
    key: Key,
}

/// A chain and its key, which need not be those of an SVID.
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: Key,
}

impl Shown {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.pkcs8().to_vec()).into()
    }

    /// As it is shown, also where rustls would rather not.
    fn unchecked(&self) -> Arc<SingleCertAndKey> {
        let key = tls::provider().key_provider.load_private_key(self.key()).unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key).into())
    }

    pub(crate) fn svid(&self) -> Svid {
        Svid::new(self.chain.clone(), self.key()).unwrap()
    }

    /// The same key, with another chain.
    pub(crate) fn showing(&self, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, key: Key::from_pkcs8(self.key.pkcs8()).unwrap() }
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| crate::bundle::pem("CERTIFICATE", der)).collect()
    }

    pub(crate) fn key_pem(&self) -> String {
        crate::bundle::pem("PRIVATE KEY", self.key.pkcs8())
    }

    /// Signs a leaf as if it were an authority.
    pub(crate) fn sign(&self, params: &CertificateParams) -> Self {
        let key = Key::generate().unwrap();
        let issuer = Issuer::from_ca_cert_der(&self.chain[0], self.key.pair()).unwrap();
        let leaf = params.signed_by(key.pair(), &issuer).unwrap();
        let mut chain = vec![leaf.into()];
        chain.extend(self.chain.iter().cloned());
        Self { chain, key }
    }

    pub(crate) fn self_signed(params: &CertificateParams) -> Self {
        let key = Key::generate().unwrap();
        let certificate = params.self_signed(key.pair()).unwrap();
        Self { chain: vec![certificate.into()], key }
    }
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        Self::valid(Validity { not_before: START - DAY, not_after: START + 3650 * DAY })
    }

    pub(crate) fn valid(validity: Validity) -> Self {
        Self::make(validity, None)
    }

    /// One of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::make(Validity { not_before: START - DAY, not_after: START + DAY }, Some(name))
    }

    fn make(validity: Validity, name: Option<&str>) -> Self {
        let mut params = CertificateParams::default();
        times(&mut params, validity);
        params.serial_number = Some(serial());
        params.distinguished_name = DistinguishedName::new();
        let name = name.map_or_else(|| format!("{:?}", serial()), str::to_owned);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = Key::generate().unwrap();
        let certificate = params.self_signed(key.pair()).unwrap().into();
        Self { certificate, params, key }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(domain(), [self.certificate.clone()], 1).unwrap()
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Shown {
        let key = Key::generate().unwrap();
        Shown { chain: vec![self.certify(params, &key)], key }
    }

    /// A leaf for a key that is there.
    pub(crate) fn certify(&self, params: &CertificateParams, key: &Key) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.params, self.key.pair());
        params.signed_by(key.pair(), &issuer).unwrap().into()
    }

    pub(crate) fn svid(&self, id: &SpiffeId) -> Svid {
        self.sign(&leaf(id.as_str())).svid()
    }

    pub(crate) fn svid_for(&self, id: &SpiffeId, validity: Validity) -> Svid {
        let mut params = leaf(id.as_str());
        times(&mut params, validity);
        self.sign(&params).svid()
    }
}

/// A leaf that breaks no rule, valid for a day around the start.
pub(crate) fn leaf(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    times(&mut params, Validity { not_before: START - 60, not_after: START + DAY });
    params.serial_number = Some(serial());
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri_name(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn times(params: &mut CertificateParams, validity: Validity) {
    params.not_before = OffsetDateTime::from_unix_timestamp(validity.not_before).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(validity.not_after).unwrap();
}

fn serial() -> SerialNumber {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).unwrap();
    SerialNumber::from_slice(&serial)
}

pub(crate) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// Alternative names with one URI of fewer than 120 bytes, marked critical or not.
pub(crate) fn raw_names(uri: &[u8], critical: bool) -> CustomExtension {
    let length = u8::try_from(uri.len()).unwrap();
    let content = [&[0x30, length + 2, 0x86, length], uri].concat();
    let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
    names.set_criticality(critical);
    names
}

/// A change to what [`leaf`] makes, and the word for the refusal of it, if it is refused.
pub(crate) type Case = (&'static str, fn(&mut CertificateParams), Option<&'static str>);

/// What is to be thought of a leaf, by the SPIFFE standard.
pub(crate) const LEAVES: &[Case] = &[
    ("as it should be", |_| {}, None),
    (
        "with a DNS name",
        |leaf| leaf.subject_alt_names.push(SanType::DnsName("a.b".try_into().unwrap())),
        None,
    ),
    ("with a subject", |leaf| leaf.distinguished_name.push(DnType::CommonName, "a"), None),
    ("without extended key usage", |leaf| leaf.extended_key_usages.clear(), None),
    ("without basic constraints", |leaf| leaf.is_ca = IsCa::NoCa, None),
    ("with more key usages", |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyAgreement), None),
    ("without names", |leaf| leaf.subject_alt_names.clear(), Some("uri_names")),
    (
        "with a DNS name alone",
        |leaf| leaf.subject_alt_names = vec![SanType::DnsName("a.b".try_into().unwrap())],
        Some("uri_names"),
    ),
    (
        "with two URIs",
        |leaf| leaf.subject_alt_names.push(uri_name("spiffe://cluster.local/b")),
        Some("uri_names"),
    ),
    (
        "with one URI twice",
        |leaf| leaf.subject_alt_names.push(leaf.subject_alt_names[0].clone()),
        Some("uri_names"),
    ),
    (
        "with a web address",
        |leaf| leaf.subject_alt_names = vec![uri_name("https://cluster.local/a")],
        Some("spiffe_id"),
    ),
    (
        "with an id in upper case",
        |leaf| leaf.subject_alt_names = vec![uri_name("spiffe://Cluster.local/a")],
        Some("spiffe_id"),
    ),
    (
        "with an id that has a query",
        |leaf| leaf.subject_alt_names = vec![uri_name("spiffe://cluster.local/a?b")],
        Some("spiffe_id"),
    ),
    (
        "with an id that has no path",
        |leaf| leaf.subject_alt_names = vec![uri_name("spiffe://cluster.local")],
        Some("no_path"),
    ),
    (
        "with a URI that is not text",
        |leaf| {
            leaf.subject_alt_names.clear();
            leaf.custom_extensions = vec![raw_names(b"spiffe://cluster.local/\xff", true)];
        },
        Some("malformed"),
    ),
    (
        "with an id that has a zero in it",
        |leaf| {
            leaf.subject_alt_names.clear();
            leaf.custom_extensions = vec![raw_names(b"spiffe://cluster.local/a\0b", true)];
        },
        Some("spiffe_id"),
    ),
    (
        "without a subject, with names that are not critical",
        |leaf| {
            leaf.subject_alt_names.clear();
            leaf.custom_extensions = vec![raw_names(b"spiffe://cluster.local/a", false)];
        },
        Some("names_not_critical"),
    ),
    (
        "with names twice",
        |leaf| leaf.custom_extensions = vec![raw_names(b"spiffe://cluster.local/a", true)],
        Some("malformed"),
    ),
    (
        "with an extension of its own",
        |leaf| {
            leaf.custom_extensions =
                vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        },
        None,
    ),
    (
        "with an extension of its own, twice",
        |leaf| {
            let extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            leaf.custom_extensions = vec![extension.clone(), extension];
        },
        Some("malformed"),
    ),
    (
        "of an authority",
        |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        Some("authority"),
    ),
    ("without key usage", |leaf| leaf.key_usages.clear(), Some("key_usage")),
    (
        "without signatures",
        |leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        Some("key_usage"),
    ),
    (
        "that signs certificates",
        |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign),
        Some("key_usage"),
    ),
    (
        "that signs revocation lists",
        |leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign),
        Some("key_usage"),
    ),
    (
        "with a key usage that is not critical",
        |leaf| {
            leaf.key_usages.clear();
            let usage = vec![3, 2, 7, 0x80];
            leaf.custom_extensions =
                vec![CustomExtension::from_oid_content(&[2, 5, 29, 15], usage)];
        },
        Some("key_usage"),
    ),
    (
        "for servers alone",
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        Some("extended_key_usage"),
    ),
    (
        "for clients alone",
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Some("extended_key_usage"),
    ),
    (
        "for mail",
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection],
        Some("extended_key_usage"),
    ),
];

/// What one side of a handshake ended with.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) peer: Option<Vec<CertificateDer<'static>>>,
    pub(crate) protocol: Option<Vec<u8>>,
    pub(crate) kind: Option<HandshakeKind>,
}

/// Shakes hands over a socket and sends a byte from the server to the client: what the server, and
/// what the client ended with.
pub(crate) async fn handshake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Result<Side, rustls::Error>, Result<Side, rustls::Error>) {
    let name = ServerName::try_from("service.test").unwrap();
    handshake_with_name(server, client, name).await
}

pub(crate) async fn handshake_with_name(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> (Result<Side, rustls::Error>, Result<Side, rustls::Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(server).accept(stream).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok(side(stream.get_ref().1))
    };
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(client).connect(name, stream).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(side(stream.get_ref().1))
    };
    let both = async { tokio::join!(serve, connect) };
    let (server, client) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    (server.map_err(tls_error), client.map_err(tls_error))
}

fn side<D>(connection: &rustls::ConnectionCommon<D>) -> Side {
    Side {
        peer: connection.peer_certificates().map(<[_]>::to_vec),
        protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
        kind: connection.handshake_kind(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn tls_error(error: std::io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.cloned().unwrap_or_else(|| rustls::Error::General(error.to_string()))
}

/// The rule of ours that was broken, or the name of the TLS error.
pub(crate) fn word(error: &rustls::Error) -> String {
    match broken_rule(error) {
        Some(rule) => rule.code().to_owned(),
        None => {
            let text = format!("{error:?}");
            let text = text.strip_prefix("InvalidCertificate(").unwrap_or(&text);
            text.split([' ', '(', ')', '{']).next().unwrap_or_default().to_owned()
        }
    }
}

/// A server that shows what it is given, and asks for nothing.
pub(crate) fn raw_server(shown: &Shown) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shown.unchecked());
    Arc::new(config)
}

/// A client that shows what it is given, and takes every server.
pub(crate) fn raw_client(shown: Option<&Shown>) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    Arc::new(match shown {
        Some(shown) => config.with_client_cert_resolver(shown.unchecked()),
        None => config.with_no_client_auth(),
    })
}

/// A client that speaks TLS 1.2 alone.
pub(crate) fn old_client() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
