//! HTTP to hosts outside: connections, TLS, and what their failures mean.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use airhost_core::{Body, BodyError, Deadline, Error, Response, Result, codes};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep_until},
};

use super::address::{PrivateAddress, Resolver, Unresolved};
use crate::upgrade::UpgradeRequest;

/// Idle connections kept for each host.
const IDLE_PER_HOST: usize = 32;
/// Shorter than what most servers keep, so that a connection is seldom closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Head of an answer, in bytes.
const HEAD_BYTES: usize = 64 << 10;

type Inner = Client<HttpsConnector<HttpConnector<Resolver>>, Body>;

/// Whom TLS certificates are believed from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Roots {
    /// The Mozilla set that is compiled in.
    #[default]
    WebPki,
    /// That set, and the certificates of this PEM text: a company's own proxy or hosts.
    WebPkiAnd(Vec<u8>),
}

/// The trust settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the additional root certificates are not valid PEM")]
pub struct RootsError(#[source] Box<dyn StdError + Send + Sync>);

/// Clients by what they may do. Each has its own connections, so that one that was made under a
/// wider grant is never used under a narrower one.
pub(crate) struct Outside {
    public: Inner,
    private: Inner,
    /// Without HTTP/2, which has no switch of protocols.
    public_http1: Inner,
    private_http1: Inner,
}

/// How a request outside is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Private and loopback addresses may be called.
    pub(crate) private: bool,
    pub(crate) deadline: Deadline,
}

impl Outside {
    pub(crate) fn new(
        roots: &Roots,
        connect_timeout: Duration,
    ) -> std::result::Result<Self, RootsError> {
        let tls = tls(roots)?;
        let client =
            |private, http2| client(tls.clone(), connect_timeout, Resolver { private }, http2);
        Ok(Self {
            public: client(false, true),
            private: client(true, true),
            public_http1: client(false, false),
            private_http1: client(true, false),
        })
    }

    /// Sends a request and waits for the head of the answer. `permit` is held until the answer's
    /// body is over.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
        way: Way,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response> {
        let upgrade = request.extensions_mut().remove::<UpgradeRequest>();
        let client = match (way.private, &upgrade) {
            (false, None) => &self.public,
            (true, None) => &self.private,
            (false, Some(_)) => &self.public_http1,
            (true, Some(_)) => &self.private_http1,
        };
        if let Some(upgrade) = upgrade {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            request.headers_mut().insert(header::UPGRADE, upgrade.protocol);
        }
        *request.version_mut() = http::Version::HTTP_11;
        let again = repeatable(&request);
        let answered = async {
            let first = match client.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => refused(&error),
            };
            match again {
                Some(request) if codes::CALL_RESET.is(&first) => {
                    client.request(request).await.map_err(|error| refused(&error))
                }
                _ => Err(first),
            }
        };
        let sent = tokio::time::timeout_at(way.deadline.instant(), answered).await;
        let response =
            sent.map_err(|_| codes::DEADLINE_EXCEEDED.error("the host did not answer in time"))??;
        Ok(response.map(|body| {
            Body::stream(AnswerBody { body, deadline: way.deadline, timer: None, _permit: permit })
        }))
    }
}

/// The same request once more, if it does no harm: the host may have closed a kept connection at
/// the very moment it was used (RFC 9110, section 9.2.2).
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.method().is_safe() || !matches!(request.body(), Body::Empty) {
        return None;
    }
    let mut again = Request::new(Body::Empty);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

fn tls(roots: &Roots) -> std::result::Result<ClientConfig, RootsError> {
    let wrong = |error: Box<dyn StdError + Send + Sync>| RootsError(error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(Box::new(error)))?;
    let builder = match roots {
        Roots::WebPki => builder.with_webpki_roots(),
        Roots::WebPkiAnd(pem) => {
            let mut store = RootCertStore { roots: webpki_roots() };
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| wrong(format!("{error:?}").into()))?;
                store.add(certificate).map_err(|error| wrong(Box::new(error)))?;
            }
            builder.with_root_certificates(store)
        }
    };
    Ok(builder.with_no_client_auth())
}

fn webpki_roots() -> Vec<rustls::pki_types::TrustAnchor<'static>> {
    webpki_roots::TLS_SERVER_ROOTS.to_vec()
}

fn client(tls: ClientConfig, connect_timeout: Duration, resolver: Resolver, http2: bool) -> Inner {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect_timeout));
    http.set_keepalive(Some(Duration::from_secs(30)));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let connector = if http2 {
        builder.enable_all_versions().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    };
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http1_max_buf_size(HEAD_BYTES)
        .http2_max_header_list_size(HEAD_BYTES as u32)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .build(connector)
}

/// What a failure to get an answer means. Its causes are logged and not told: they name addresses.
fn refused(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<PrivateAddress>() {
            return codes::CALL_DENIED.error("the host's name leads to a private address");
        }
        if inner.is::<Unresolved>() {
            return codes::CALL_UNKNOWN_HOST.error("the host's name does not resolve");
        }
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return body_failed(body);
        }
        cause = inner.source();
    }
    tracing::debug!(%error, cause = error.source().map(tracing::field::display), "a call outside failed");
    if error.is_connect() {
        codes::CALL_UNREACHABLE.error("no connection to the host could be made")
    } else {
        codes::CALL_RESET.error("the host ended the call before it answered")
    }
}

/// The request's own body broke off: not the host's fault.
fn body_failed(error: &BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit } => BodyError::TooLarge { limit: *limit }.into(),
        BodyError::Cancelled => BodyError::Cancelled.into(),
        BodyError::Deadline => BodyError::Deadline.into(),
        _ => codes::BODY_TRUNCATED.error("the request's body ended before its end"),
    }
}

/// An answer's body, within the call's deadline.
struct AnswerBody {
    body: Incoming,
    deadline: Deadline,
    /// Set up when the host makes someone wait.
    timer: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| BodyError::Truncated(Box::new(error)))),
            );
        }
        let deadline = self.deadline.instant();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Some(Err(BodyError::Deadline)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
