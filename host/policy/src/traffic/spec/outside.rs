use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Span;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CircuitBreaker {
    pub(crate) host: Spanned<String>,
    pub(crate) from: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) failure_threshold: Option<Spanned<u32>>,
    pub(crate) recovery_timeout: Option<Spanned<Span>>,
    pub(crate) half_open_requests: Option<Spanned<u32>>,
    pub(crate) failures: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EgressLimit {
    pub(crate) host: Spanned<String>,
    pub(crate) from: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) limits: Spanned<Vec<Spanned<Limit>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) key: Spanned<String>,
    pub(crate) requests: Spanned<u32>,
    pub(crate) per: Spanned<Span>,
    #[serde(rename = "pauseAfter429")]
    pub(crate) pause_after_429: Option<Spanned<Span>>,
}
