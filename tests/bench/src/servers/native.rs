//! The same work in a plain hyper server: what the host's cost is stated beside.

use std::{convert::Infallible, fs, net::SocketAddr, path::Path, sync::Arc};

use airhost_identity::{
    jwks::KeySet,
    token::{Config, Verifier},
};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{order, process::Ready, servers::until_stopped};

/// The name in the certificate.
const NAME: &str = "localhost";
/// As auth-service's manifest says.
const ISSUER: &str = "https://pyairtable.local";
const AUDIENCE: &str = "pyairtable";

struct Work {
    verifier: Option<Verifier>,
}

pub(super) async fn serve(keys: Option<&Path>, folder: &Path) -> Result<()> {
    let verifier = match keys {
        None => None,
        Some(path) => {
            let keys = KeySet::parse(&fs::read(path)?)?;
            let config =
                Config { issuers: vec![ISSUER.to_owned()], audiences: vec![AUDIENCE.to_owned()] };
            Some(Verifier::with_keys(&config, keys))
        }
    };
    let work = Arc::new(Work { verifier });
    let acceptor = TlsAcceptor::from(Arc::new(server_tls(folder)?));
    let one = Arc::clone(&work);
    let http1 = listen(move |stream| one_connection(stream, Arc::clone(&one))).await?;
    let two = Arc::clone(&work);
    let http2 = listen(move |stream| multiplexed(stream, Arc::clone(&two))).await?;
    let mtls = listen(move |stream| {
        let (acceptor, work) = (acceptor.clone(), Arc::clone(&work));
        async move { multiplexed(acceptor.accept(stream).await?, work).await }
    });
    let ports = [("http1", http1), ("http2", http2), ("mtls", mtls.await?)];
    let ready: Ready = ports.map(|(name, address)| (name.to_owned(), address.to_string())).into();
    until_stopped(&ready).await
}

/// Serves each connection of a new port on a task of its own.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Result<SocketAddr>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        loop {
            let accepted = async {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(stream)
            };
            match accepted.await {
                Ok(stream) => {
                    let served = serve(stream);
                    tokio::spawn(async move {
                        if let Err(error) = served.await {
                            eprintln!("a connection of the native server broke: {error:#}");
                        }
                    });
                }
                Err(error) => eprintln!("the native server cannot accept: {error}"),
            }
        }
    });
    Ok(address)
}

async fn one_connection(stream: TcpStream, work: Arc<Work>) -> Result<()> {
    let service = service_fn(move |request| answer(request, Arc::clone(&work)));
    // Whoever sends load hangs up when its time is over, in the middle of a request too.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    Ok(())
}

async fn multiplexed<S>(stream: S, work: Arc<Work>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&work)));
    Ok(http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await?)
}

async fn answer(
    request: Request<Incoming>,
    work: Arc<Work>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let answer = match (parts.method, parts.uri.path()) {
        (Method::GET, "/token") => work.token(&parts.headers).await,
        (Method::POST, "/echo") => {
            body.collect().await.ok().map(http_body_util::Collected::to_bytes)
        }
        (Method::POST, _) => match body.collect().await {
            Ok(body) => order::answer(&body.to_bytes()).ok().map(Bytes::from),
            Err(_) => None,
        },
        _ => None,
    };
    let status = if answer.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut response = Response::new(Full::new(answer.unwrap_or_default()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Work {
    /// What the guest `token` does, with the verifier that the host has.
    async fn token(&self, headers: &HeaderMap) -> Option<Bytes> {
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let principal = self.verifier.as_ref()?.verify(token).await.ok()?;
        let body = format!(
            r#"{{"subject":{:?},"tenant":{:?}}}"#,
            principal.subject,
            principal.tenant.as_str()
        );
        Some(body.into())
    }
}

/// Makes a certificate, which both sides show and trust, in a folder.
pub(crate) fn certificate(folder: &Path) -> Result<()> {
    let signed = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    fs::write(folder.join("certificate.der"), signed.cert.der())?;
    fs::write(folder.join("key.der"), signed.signing_key.serialize_der())?;
    Ok(())
}

struct Credentials {
    provider: Arc<rustls::crypto::CryptoProvider>,
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn credentials(folder: &Path) -> Result<Credentials> {
    let certificate = CertificateDer::from(fs::read(folder.join("certificate.der"))?);
    let key =
        PrivateKeyDer::try_from(fs::read(folder.join("key.der"))?).map_err(anyhow::Error::msg)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(Credentials { provider, roots, chain: vec![certificate], key })
}

fn server_tls(folder: &Path) -> Result<ServerConfig> {
    let Credentials { provider, roots, chain, key } = credentials(folder)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The client's side of the port `mtls`: what connects, and the name to expect.
pub(crate) fn client_tls(folder: &Path) -> Result<(TlsConnector, ServerName<'static>)> {
    let Credentials { provider, roots, chain, key } = credentials(folder)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(NAME).context("the certificate's name is not valid")?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
