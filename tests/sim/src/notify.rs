//! Delivery of webhook notifications.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::clock::iso;
use crate::config::NotifyConfig;

/// Tells subscribers that there is something to fetch.
///
/// One delivery is under way for a webhook at a time; whatever happens meanwhile is told by one
/// more delivery after it.
#[derive(Debug)]
pub(crate) struct Notifier {
    config: NotifyConfig,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Webhooks with a delivery under way, and whether another must follow.
    busy: Mutex<HashMap<(String, String), bool>>,
}

/// How a delivery went.
struct Outcome {
    success: bool,
    message: String,
}

impl Notifier {
    pub(crate) fn new(config: NotifyConfig) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { config, client, busy: Mutex::default() }
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
            Ok(Err(error)) => failed(error.to_string()),
            Ok(Ok(answer)) => match answer.status() {
                StatusCode::OK | StatusCode::NO_CONTENT => {
                    Outcome { success: true, message: String::new() }
                }
                status => failed(format!("The server answered {status}")),
            },
        }
    }
}
