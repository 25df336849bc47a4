//! Delivery of webhook notifications.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::clock::iso;
use crate::config::NotifyConfig;
use crate::error::{Error, Result};

/// Tells subscribers that there is something to fetch.
///
/// One delivery is under way for a webhook at a time; whatever happens meanwhile is told by one
/// more delivery after it.
#[derive(Debug)]
pub(crate) struct Notifier {
    config: NotifyConfig,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Webhooks with a delivery under way, and whether another must follow.
    busy: Mutex<HashMap<(String, String), bool>>,
}

/// How a delivery went.
struct Outcome {
    success: bool,
    message: String,
}

impl Notifier {
    pub(crate) fn new(config: NotifyConfig) -> Result<Self> {
        let mut http = HttpConnector::new();
        // `https` addresses come here as well.
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { config, client, busy: Mutex::default() })
    }

    /// Starts a delivery, or has one follow the delivery under way.
    pub(crate) fn ping(&self, app: &Arc<App>, base: &str, hook: &str) {
        let key = (base.to_owned(), hook.to_owned());
        let mut busy = self.busy.lock();
        if let Some(again) = busy.get_mut(&key) {
            *again = true;
            return;
        }
        busy.insert(key.clone(), false);
        drop(busy);
        let app = Arc::clone(app);
        let tracker = app.tasks.clone();
        tracker.spawn(async move {
            let stop = app.stop.clone();
            let work = async {
                loop {
                    app.notifier.deliver(&app, &key.0, &key.1).await;
                    let mut busy = app.notifier.busy.lock();
                    match busy.get_mut(&key) {
                        Some(again) if *again => *again = false,
                        _ => {
                            busy.remove(&key);
                            break;
                        }
                    }
                }
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn deliver(&self, app: &App, base: &str, hook: &str) {
        let mut delay = self.config.first_delay;
        for attempt in 0..self.config.attempts.max(1) {
            let found = app.data.read().bases.get(base).and_then(|base| {
                let hook = base.webhooks.get(hook).filter(|hook| hook.notify)?;
                Some((hook.url.clone()?, hook.secret.clone()))
            });
            let Some((url, secret)) = found else { return };
            let at = app.now();
            let body = json!({"base": {"id": base}, "webhook": {"id": hook}, "timestamp": iso(at)});
            let started = Instant::now();
            let outcome = self.post(&url, &secret, body.to_string()).await;
            app.observer.notified(outcome.success);
            let last = attempt + 1 >= self.config.attempts.max(1);
            let mut result = json!({
                "success": outcome.success,
                "completionTimestamp": iso(app.now()),
                "durationMs": started.elapsed().as_secs_f64() * 1000.0,
                "retryNumber": attempt,
            });
            if !outcome.success {
                result["willBeRetried"] = json!(!last);
                result["error"] = json!({"message": outcome.message});
            }
            if Self::settle(app, base, hook, result, outcome.success, last) {
                return;
            }
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2);
        }
    }

    /// Notes how a delivery went; true when no other is to follow.
    fn settle(
        app: &App,
        base: &str,
        hook: &str,
        result: serde_json::Value,
        success: bool,
        last: bool,
    ) -> bool {
        let now = app.now();
        let mut data = app.data.write();
        let live = data.bases.get_mut(base).and_then(|base| base.webhooks.get_mut(hook));
        let Some(live) = live else { return true };
        live.last_result = Some(result);
        if success {
            live.last_success = Some(now);
        } else if last {
            live.notify = false;
        }
        success || last
    }

    async fn post(&self, url: &str, secret: &[u8], body: String) -> Outcome {
        let failed = |message: String| Outcome { success: false, message };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mac: String =
            hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("X-Airtable-Content-MAC", format!("hmac-sha256={mac}"))
            .body(Full::new(Bytes::from(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return failed(error.to_string()),
        };
        match tokio::time::timeout(self.config.timeout, self.client.request(request)).await {
            Err(_) => failed("The request timed out".to_owned()),
            Ok(Err(error)) => failed(with_causes(&error)),
            Ok(Ok(answer)) => match answer.status() {
                StatusCode::OK | StatusCode::NO_CONTENT => {
                    Outcome { success: true, message: String::new() }
                }
                status => failed(format!("The server answered {status}")),
            },
        }
    }
}

/// Trusts the public authorities and those of a file.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        let unfit = |reason: String| Error::Certificates { path: path.to_owned(), reason };
        let found =
            CertificateDer::pem_file_iter(path).map_err(|error| unfit(error.to_string()))?;
        let before = roots.len();
        for certificate in found {
            let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
            roots.add(certificate).map_err(|error| unfit(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(unfit("it holds none".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// An error and what caused it: the outermost says no more than that the connection failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
