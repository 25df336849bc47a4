use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Span, StringMatch, refused};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VirtualService {
    pub(crate) hosts: Spanned<Vec<Spanned<String>>>,
    pub(crate) gateways: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(crate) http: Vec<Spanned<HttpRoute>>,
    pub(crate) export_to: Option<Spanned<Vec<String>>>,
    #[serde(rename = "tcp")]
    _tcp: Option<refused::Tcp>,
    #[serde(rename = "tls")]
    _tls: Option<refused::Tls>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HttpRoute {
    pub(crate) name: Option<String>,
    #[serde(default, rename = "match")]
    pub(crate) matches: Vec<Spanned<MatchRequest>>,
    #[serde(default)]
    pub(crate) route: Vec<Spanned<WeightedDestination>>,
    pub(crate) redirect: Option<Spanned<Redirect>>,
    pub(crate) direct_response: Option<Spanned<DirectResponse>>,
    pub(crate) rewrite: Option<Spanned<Rewrite>>,
    pub(crate) timeout: Option<Spanned<Span>>,
    pub(crate) retries: Option<Spanned<Retry>>,
    pub(crate) fault: Option<Spanned<Fault>>,
    pub(crate) mirror: Option<Spanned<Destination>>,
    pub(crate) mirrors: Option<Spanned<Vec<Mirror>>>,
    pub(crate) mirror_percentage: Option<Spanned<Percent>>,
    pub(crate) mirror_percent: Option<Spanned<u32>>,
    pub(crate) cors_policy: Option<Spanned<CorsPolicy>>,
    pub(crate) headers: Option<HeaderChanges>,
    #[serde(rename = "delegate")]
    _delegate: Option<refused::Delegate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MatchRequest {
    pub(crate) name: Option<String>,
    pub(crate) uri: Option<Spanned<StringMatch>>,
    pub(crate) scheme: Option<Spanned<StringMatch>>,
    pub(crate) method: Option<Spanned<StringMatch>>,
    pub(crate) authority: Option<Spanned<StringMatch>>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Spanned<StringMatch>>,
    #[serde(default)]
    pub(crate) without_headers: BTreeMap<String, Spanned<StringMatch>>,
    #[serde(default)]
    pub(crate) query_params: BTreeMap<String, Spanned<StringMatch>>,
    #[serde(default)]
    pub(crate) ignore_uri_case: bool,
    pub(crate) port: Option<Spanned<u32>>,
    #[serde(default)]
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) source_namespace: Option<String>,
    pub(crate) gateways: Option<Spanned<Vec<String>>>,
    #[serde(rename = "statPrefix")]
    _stat_prefix: Option<refused::StatPrefix>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WeightedDestination {
    pub(crate) destination: Destination,
    pub(crate) weight: Option<Spanned<i64>>,
    pub(crate) headers: Option<HeaderChanges>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Destination {
    pub(crate) host: Spanned<String>,
    pub(crate) subset: Option<Spanned<String>>,
    pub(crate) port: Option<PortSelector>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PortSelector {
    pub(crate) number: Spanned<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mirror {
    pub(crate) destination: Destination,
    pub(crate) percentage: Option<Spanned<Percent>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Percent {
    /// Protobuf's default of a number that is left out.
    #[serde(default)]
    pub(crate) value: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Redirect {
    pub(crate) uri: Option<String>,
    pub(crate) authority: Option<Spanned<String>>,
    pub(crate) scheme: Option<Spanned<String>>,
    pub(crate) port: Option<Spanned<u32>>,
    pub(crate) derive_port: Option<Spanned<DerivePort>>,
    pub(crate) redirect_code: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DerivePort {
    FromProtocolDefault,
    FromRequestPort,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DirectResponse {
    pub(crate) status: Spanned<u32>,
    pub(crate) body: Option<Spanned<Body>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Body {
    pub(crate) string: Option<String>,
    /// Base64.
    pub(crate) bytes: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rewrite {
    pub(crate) uri: Option<Spanned<String>>,
    pub(crate) authority: Option<Spanned<String>>,
    pub(crate) uri_regex_rewrite: Option<RegexRewrite>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RegexRewrite {
    #[serde(rename = "match")]
    pub(crate) pattern: Spanned<String>,
    pub(crate) rewrite: Spanned<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Retry {
    pub(crate) attempts: Option<Spanned<i64>>,
    pub(crate) per_try_timeout: Option<Spanned<Span>>,
    pub(crate) retry_on: Option<Spanned<String>>,
    pub(crate) retry_remote_localities: Option<bool>,
    pub(crate) retry_ignore_previous_hosts: Option<bool>,
    pub(crate) backoff: Option<Spanned<Span>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) delay: Option<Spanned<Delay>>,
    pub(crate) abort: Option<Spanned<Abort>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Delay {
    pub(crate) fixed_delay: Option<Spanned<Span>>,
    pub(crate) percentage: Option<Spanned<Percent>>,
    pub(crate) percent: Option<Spanned<u32>>,
    #[serde(rename = "exponentialDelay")]
    _exponential_delay: Option<refused::ExponentialDelay>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Abort {
    pub(crate) http_status: Option<Spanned<u32>>,
    pub(crate) grpc_status: Option<Spanned<String>>,
    pub(crate) percentage: Option<Spanned<Percent>>,
    #[serde(rename = "http2Error")]
    _http2_error: Option<refused::Http2Error>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CorsPolicy {
    pub(crate) allow_origins: Option<Vec<Spanned<StringMatch>>>,
    pub(crate) allow_origin: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(crate) allow_methods: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) allow_headers: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) expose_headers: Vec<Spanned<String>>,
    pub(crate) max_age: Option<Spanned<Span>>,
    #[serde(default)]
    pub(crate) allow_credentials: bool,
    pub(crate) unmatched_preflights: Option<UnmatchedPreflights>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum UnmatchedPreflights {
    Unspecified,
    Forward,
    Ignore,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HeaderChanges {
    #[serde(default)]
    pub(crate) request: HeaderOperations,
    #[serde(default)]
    pub(crate) response: HeaderOperations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HeaderOperations {
    #[serde(default)]
    pub(crate) set: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(crate) add: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(crate) remove: Vec<Spanned<String>>,
}
