//! Webhooks: what they watch, and the payloads that transactions leave for them.

mod payload;

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::clock::iso;
use crate::edit::Tx;
use crate::model::Base;

/// Payloads kept for one webhook; the oldest go first.
pub(crate) const MAX_PAYLOADS: usize = 5_000;
/// Webhooks of one base.
pub(crate) const MAX_WEBHOOKS: usize = 10;
/// How long a webhook lives after it was made or refreshed.
const LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A registered webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    #[serde(rename = "notificationUrl")]
    pub(crate) url: Option<String>,
    #[serde(rename = "macSecretBase64", with = "crate::model::base64_text")]
    pub(crate) secret: Vec<u8>,
    pub(crate) specification: Json,
    #[serde(rename = "areNotificationsEnabled")]
    pub(crate) notify: bool,
    #[serde(rename = "expirationTime")]
    pub(crate) expires: Timestamp,
    pub(crate) payloads: VecDeque<Arc<Json>>,
    /// Number that the next payload will have; the first is 1.
    #[serde(rename = "cursorForNextPayload")]
    pub(crate) next: u64,
    #[serde(rename = "lastSuccessfulNotificationTime")]
    pub(crate) last_success: Option<Timestamp>,
    #[serde(rename = "lastNotificationResult")]
    pub(crate) last_result: Option<Json>,
}

impl Webhook {
    /// The webhook in a list.
    pub(crate) fn json(&self) -> Json {
        json!({
            "id": self.id,
            "areNotificationsEnabled": self.notify,
            "cursorForNextPayload": self.next,
            "isHookEnabled": true,
            "lastSuccessfulNotificationTime": self.last_success.map(iso),
            "notificationUrl": self.url,
            "lastNotificationResult": self.last_result,
            "expirationTime": iso(self.expires),
            "specification": self.specification,
        })
    }

    /// The moment a webhook refreshed now expires.
    pub(crate) fn expiry(now: Timestamp) -> Timestamp {
        now.saturating_add(LIFETIME).unwrap_or(now)
    }

    /// At most `limit` payloads from `cursor` on, the next cursor, and whether there are more.
    pub(crate) fn page(&self, cursor: u64, limit: usize) -> (Vec<Arc<Json>>, u64, bool) {
        let oldest = self.next - self.payloads.len() as u64;
        let start = cursor.clamp(oldest, self.next);
        let skip = usize::try_from(start - oldest).unwrap_or(usize::MAX);
        let page: Vec<_> = self.payloads.iter().skip(skip).take(limit).cloned().collect();
        let next = start + page.len() as u64;
        (page, next, next < self.next)
    }

    fn push(&mut self, payload: Json) {
        if self.payloads.len() >= MAX_PAYLOADS {
            self.payloads.pop_front();
        }
        self.payloads.push_back(Arc::new(payload));
        self.next += 1;
    }
}

impl Base {
    /// Whether a webhook has expired that is still known.
    pub(crate) fn has_expired_webhooks(&self, now: Timestamp) -> bool {
        self.webhooks.values().any(|hook| hook.expires <= now)
    }

    /// Forgets the webhooks that have expired.
    pub(crate) fn expire_webhooks(&mut self, now: Timestamp) {
        self.webhooks.retain(|_, hook| hook.expires > now);
    }
}

impl Tx<'_> {
    /// Ends the transaction: leaves payloads, and tells which webhooks are to be notified.
    pub(crate) fn finish(self) -> Vec<String> {
        let now = self.edit.now;
        self.base.expire_webhooks(now);
        self.base.transactions += 1;
        if self.base.webhooks.is_empty() {
            return Vec::new();
        }
        let scene = payload::Scene::new(self.base, self.users, &self.edit, &self.changes);
        let found: Vec<_> = self
            .base
            .webhooks
            .values()
            .filter_map(|hook| Some((hook.id.clone(), scene.payload(&hook.specification)?)))
            .collect();
        let mut notified = Vec::new();
        for (id, payload) in found {
            if let Some(hook) = self.base.webhooks.get_mut(&id) {
                hook.push(payload);
                notified.push(id);
            }
        }
        notified
    }
}
