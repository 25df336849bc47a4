use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Span, refused, virtual_service::PortSelector};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DestinationRule {
    pub(crate) host: Spanned<String>,
    pub(crate) traffic_policy: Option<Spanned<TrafficPolicy>>,
    #[serde(default)]
    pub(crate) subsets: Vec<Subset>,
    pub(crate) export_to: Option<Spanned<Vec<String>>>,
    #[serde(rename = "workloadSelector")]
    _workload_selector: Option<refused::WorkloadSelector>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Subset {
    pub(crate) name: Spanned<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) traffic_policy: Option<Spanned<TrafficPolicy>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TrafficPolicy {
    pub(crate) load_balancer: Option<Spanned<LoadBalancer>>,
    pub(crate) connection_pool: Option<Spanned<ConnectionPool>>,
    pub(crate) outlier_detection: Option<Spanned<OutlierDetection>>,
    pub(crate) tls: Option<Spanned<TlsSettings>>,
    #[serde(default)]
    pub(crate) port_level_settings: Vec<Spanned<PortPolicy>>,
    pub(crate) retry_budget: Option<Spanned<RetryBudget>>,
    #[serde(rename = "tunnel")]
    _tunnel: Option<refused::Tunnel>,
    #[serde(rename = "proxyProtocol")]
    _proxy_protocol: Option<refused::ProxyProtocol>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PortPolicy {
    pub(crate) port: PortSelector,
    pub(crate) load_balancer: Option<Spanned<LoadBalancer>>,
    pub(crate) connection_pool: Option<Spanned<ConnectionPool>>,
    pub(crate) outlier_detection: Option<Spanned<OutlierDetection>>,
    pub(crate) tls: Option<Spanned<TlsSettings>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LoadBalancer {
    pub(crate) simple: Option<Simple>,
    pub(crate) consistent_hash: Option<Spanned<ConsistentHash>>,
    pub(crate) locality_lb_setting: Option<Spanned<LocalitySettings>>,
    #[serde(rename = "warmup")]
    _warmup: Option<refused::Warmup>,
    #[serde(rename = "warmupDurationSecs")]
    _warmup_duration: Option<refused::Warmup>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Simple {
    Unspecified,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
    /// The old name of `LEAST_REQUEST`.
    LeastConn,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConsistentHash {
    pub(crate) http_header_name: Option<Spanned<String>>,
    pub(crate) http_cookie: Option<Cookie>,
    pub(crate) use_source_ip: Option<bool>,
    pub(crate) http_query_parameter_name: Option<Spanned<String>>,
    pub(crate) ring_hash: Option<RingHash>,
    pub(crate) maglev: Option<Spanned<Maglev>>,
    /// The old place of `ringHash.minimumRingSize`.
    pub(crate) minimum_ring_size: Option<Spanned<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cookie {
    pub(crate) name: Spanned<String>,
    #[serde(rename = "ttl")]
    _ttl: Option<refused::CookieTtl>,
    #[serde(rename = "path")]
    _path: Option<refused::CookiePath>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RingHash {
    pub(crate) minimum_ring_size: Option<Spanned<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Maglev {
    pub(crate) table_size: Option<Spanned<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LocalitySettings {
    pub(crate) enabled: Option<bool>,
    #[serde(default)]
    pub(crate) failover: Vec<Spanned<Failover>>,
    #[serde(default)]
    pub(crate) failover_priority: Vec<Spanned<String>>,
    #[serde(rename = "distribute")]
    _distribute: Option<refused::Distribute>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Failover {
    pub(crate) from: String,
    pub(crate) to: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConnectionPool {
    #[serde(default)]
    pub(crate) tcp: TcpSettings,
    #[serde(default)]
    pub(crate) http: HttpSettings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TcpSettings {
    pub(crate) max_connections: Option<Spanned<i64>>,
    pub(crate) connect_timeout: Option<Spanned<Span>>,
    pub(crate) max_connection_duration: Option<Spanned<Span>>,
    pub(crate) idle_timeout: Option<Spanned<Span>>,
    #[serde(rename = "tcpKeepalive")]
    _tcp_keepalive: Option<refused::KeepAlive>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HttpSettings {
    pub(crate) http1_max_pending_requests: Option<Spanned<i64>>,
    pub(crate) http2_max_requests: Option<Spanned<i64>>,
    pub(crate) max_requests_per_connection: Option<Spanned<i64>>,
    pub(crate) max_retries: Option<Spanned<i64>>,
    pub(crate) idle_timeout: Option<Spanned<Span>>,
    pub(crate) max_concurrent_streams: Option<Spanned<i64>>,
    #[serde(rename = "h2UpgradePolicy")]
    _h2_upgrade_policy: Option<refused::H2Upgrade>,
    #[serde(rename = "useClientProtocol")]
    _use_client_protocol: Option<refused::ClientProtocol>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OutlierDetection {
    pub(crate) consecutive_errors: Option<Spanned<i64>>,
    #[serde(rename = "consecutive5xxErrors")]
    pub(crate) consecutive_5xx_errors: Option<Spanned<u32>>,
    pub(crate) consecutive_gateway_errors: Option<Spanned<u32>>,
    pub(crate) split_external_local_origin_errors: Option<bool>,
    pub(crate) consecutive_local_origin_failures: Option<Spanned<u32>>,
    pub(crate) interval: Option<Spanned<Span>>,
    pub(crate) base_ejection_time: Option<Spanned<Span>>,
    pub(crate) max_ejection_percent: Option<Spanned<i64>>,
    pub(crate) min_health_percent: Option<Spanned<i64>>,
    #[serde(default)]
    pub(crate) outlier_detection_http_error_codes: Vec<Spanned<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlsSettings {
    pub(crate) mode: Spanned<TlsMode>,
    pub(crate) client_certificate: Option<Spanned<String>>,
    pub(crate) private_key: Option<Spanned<String>>,
    pub(crate) ca_certificates: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) sni: Option<Spanned<String>>,
    pub(crate) insecure_skip_verify: Option<Spanned<bool>>,
    #[serde(rename = "credentialName")]
    _credential_name: Option<refused::CredentialName>,
    #[serde(rename = "caCrl")]
    _ca_crl: Option<refused::Crl>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum TlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RetryBudget {
    pub(crate) percent: Option<f64>,
    pub(crate) min_retry_concurrency: Option<u32>,
}
