//! `DestinationRule`s from their specs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_saphyr::Spanned;

use super::{Blocks, ClientTls, Locality, Policy, ServerTrust};
use crate::{
    finding::Place,
    traffic::{
        ConsistentHash, HashKey, LoadBalancer, Outlier, PoolLimits, RetryBudget,
        hosts::Pattern,
        review::{Review, Visibility},
        spec::{self, Simple, Span, TlsMode},
    },
};

/// Envoy's smallest ring.
const RING_SIZE: u32 = 1024;
/// Envoy's largest ring.
const LARGEST_RING: u32 = 8 * 1024 * 1024;
/// The longest an endpoint is left out, unless the base is longer. Istio cannot set it.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// A `DestinationRule`, as it is looked at.
#[derive(Clone, Debug)]
pub(in crate::traffic) struct DestinationRule {
    pub(in crate::traffic) resource: Arc<str>,
    pub(in crate::traffic) namespace: Arc<str>,
    pub(in crate::traffic) place: Place,
    pub(in crate::traffic) visibility: Visibility,
    pub(super) host: Pattern,
    pub(super) policy: Option<(Policy, Place)>,
    pub(super) subsets: Vec<Subset>,
}

#[derive(Clone, Debug)]
pub(super) struct Subset {
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) policy: Option<Policy>,
}

impl DestinationRule {
    /// Reads a `DestinationRule`. None if it is wrong, which the review then says.
    pub(in crate::traffic) fn read(
        review: &mut Review<'_>,
        spec: &spec::DestinationRule,
    ) -> Option<Self> {
        let host = review.host(&spec.host);
        let visibility = review.export_to(spec.export_to.as_ref());
        let policy = spec.traffic_policy.as_ref().map(|policy| {
            let place = review.at(policy);
            (Policy::read(review, &policy.value, false), place)
        });
        let top = spec.traffic_policy.as_ref().map(|policy| &policy.value);
        let ejects = top.is_some_and(|policy| policy.outlier_detection.is_some());
        let mut subsets: Vec<Subset> = Vec::new();
        for subset in &spec.subsets {
            let name = &subset.name;
            if !is_label(&name.value) {
                review.error(
                    name,
                    format!(
                        "`{}` is not the name of a subset: use 1 to 63 letters, digits and `-`",
                        name.value
                    ),
                );
            }
            if subsets.iter().any(|other| *other.name == *name.value) {
                review
                    .error(name, format!("the subset `{}` is there twice; remove one", name.value));
            }
            let policy = subset.traffic_policy.as_ref();
            subsets.push(Subset {
                name: name.value.as_str().into(),
                place: review.at(name),
                labels: subset.labels.clone(),
                policy: policy.map(|policy| Policy::read(review, &policy.value, ejects)),
            });
        }
        let host = host.filter(|_| review.is_clean())?;
        Some(Self {
            resource: Arc::clone(&review.resource),
            namespace: Arc::clone(&review.namespace),
            place: review.place.clone(),
            visibility,
            host,
            policy,
            subsets,
        })
    }
}

/// RFC 1123, where Istio allows capitals.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Policy {
    /// Reads a policy; `ejects` tells whether one that it inherits from has `outlierDetection`.
    fn read(review: &mut Review<'_>, spec: &spec::TrafficPolicy, ejects: bool) -> Self {
        if !ejects && spec.outlier_detection.is_none() {
            warn_of_failover(review, spec.load_balancer.as_ref());
        }
        let mut blocks = Blocks::read(
            review,
            spec.load_balancer.as_ref(),
            spec.connection_pool.as_ref(),
            spec.outlier_detection.as_ref(),
            spec.tls.as_ref(),
        );
        if let Some(budget) = &spec.retry_budget {
            blocks.retry_budget = read_budget(review, budget);
        }
        let mut ports = BTreeMap::new();
        for of in &spec.port_level_settings {
            let settings = &of.value;
            let Some(port) = review.port(&settings.port.number) else { continue };
            if settings.outlier_detection.is_none() {
                warn_of_failover(review, settings.load_balancer.as_ref());
            }
            let blocks = Blocks::read(
                review,
                settings.load_balancer.as_ref(),
                settings.connection_pool.as_ref(),
                settings.outlier_detection.as_ref(),
                settings.tls.as_ref(),
            );
            if ports.insert(port, blocks).is_some() {
                review.error(of, format!("port {port} is there twice; remove one"));
            }
        }
        Self { blocks, ports }
    }
}

impl Blocks {
    fn read(
        review: &mut Review<'_>,
        load_balancer: Option<&Spanned<spec::LoadBalancer>>,
        connection_pool: Option<&Spanned<spec::ConnectionPool>>,
        outlier_detection: Option<&Spanned<spec::OutlierDetection>>,
        tls: Option<&Spanned<spec::TlsSettings>>,
    ) -> Self {
        Self {
            load_balancer: load_balancer.and_then(|of| read_balancer(review, of)),
            limits: connection_pool.and_then(|of| read_limits(review, &of.value)),
            outlier: outlier_detection.and_then(|of| read_outlier(review, of)),
            tls: tls.and_then(|of| read_tls(review, of)),
            retry_budget: None,
        }
    }
}

fn warn_of_failover(review: &mut Review<'_>, of: Option<&Spanned<spec::LoadBalancer>>) {
    let Some(settings) = of.and_then(|of| of.value.locality_lb_setting.as_ref()) else { return };
    if !(settings.value.failover.is_empty() && settings.value.failover_priority.is_empty()) {
        review.warning(
            settings,
            "nothing fails over without `outlierDetection`, which tells that endpoints are ill",
        );
    }
}

fn read_balancer(
    review: &mut Review<'_>,
    of: &Spanned<spec::LoadBalancer>,
) -> Option<(LoadBalancer, Locality)> {
    let spec = &of.value;
    let balancer = match (&spec.simple, &spec.consistent_hash) {
        (Some(_), Some(hash)) => {
            review.error(hash, "use one of `simple` and `consistentHash`, not both");
            return None;
        }
        (None, Some(hash)) => LoadBalancer::ConsistentHash(read_hash(review, hash)?),
        (Some(Simple::RoundRobin), None) => LoadBalancer::RoundRobin,
        (Some(Simple::Random), None) => LoadBalancer::Random,
        (Some(Simple::Passthrough), None) => LoadBalancer::Passthrough,
        (Some(Simple::LeastRequest | Simple::LeastConn | Simple::Unspecified) | None, None) => {
            LoadBalancer::LeastRequest
        }
    };
    let locality = match &spec.locality_lb_setting {
        None => Locality::default(),
        Some(settings) => read_locality(review, settings)?,
    };
    Some((balancer, locality))
}

fn read_hash(
    review: &mut Review<'_>,
    of: &Spanned<spec::ConsistentHash>,
) -> Option<ConsistentHash> {
    let spec = &of.value;
    let mut keys = Vec::new();
    if let Some(name) = &spec.http_header_name {
        keys.push(HashKey::Header(review.header_name(name)?));
    }
    if let Some(cookie) = &spec.http_cookie {
        keys.push(HashKey::Cookie(cookie.name.value.clone()));
    }
    if spec.use_source_ip == Some(true) {
        keys.push(HashKey::SourceIp);
    }
    if let Some(name) = &spec.http_query_parameter_name {
        keys.push(HashKey::QueryParameter(name.value.clone()));
    }
    let (Some(key), true) = (keys.pop(), keys.is_empty()) else {
        review.error(
            of,
            "`consistentHash` needs one of `httpHeaderName`, `httpCookie`, `useSourceIp: true` and `httpQueryParameterName`",
        );
        return None;
    };
    let sizes = [
        spec.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size.as_ref()),
        spec.maglev.as_ref().and_then(|maglev| maglev.value.table_size.as_ref()),
        spec.minimum_ring_size.as_ref(),
    ];
    if let Some(maglev) = &spec.maglev {
        if spec.ring_hash.is_some() {
            review.error(maglev, "use one of `ringHash` and `maglev`, not both");
            return None;
        }
        review.warning(maglev, "a hash ring of that size is used in the place of a Maglev table");
    }
    let size = sizes.into_iter().flatten().next();
    if let Some(size) = size
        && size.value > LARGEST_RING
    {
        review.error(size, format!("a hash ring has at most {LARGEST_RING} points"));
        return None;
    }
    Some(ConsistentHash {
        key,
        minimum_ring_size: size.map_or(RING_SIZE, |size| size.value.max(1)),
    })
}

fn read_locality(
    review: &mut Review<'_>,
    of: &Spanned<spec::LocalitySettings>,
) -> Option<Locality> {
    let spec = &of.value;
    if !spec.failover.is_empty() && !spec.failover_priority.is_empty() {
        review.error(of, "use one of `failover` and `failoverPriority`, not both");
        return None;
    }
    for failover in &spec.failover {
        let (from, to) = (&failover.value.from, &failover.value.to);
        if from == to || from.is_empty() || to.is_empty() {
            review.error(failover, "`failover` goes from one region to another");
            return None;
        }
        if from.contains(['/', '*']) || to.contains(['/', '*']) {
            review.error(failover, "`failover` names regions, without zones and without `*`");
            return None;
        }
    }
    let failover = spec
        .failover
        .iter()
        .map(|failover| (failover.value.from.as_str().into(), failover.value.to.as_str().into()));
    Some(Locality {
        enabled: spec.enabled.unwrap_or(true),
        failover: failover.collect(),
        priority: spec.failover_priority.iter().map(|label| label.value.as_str().into()).collect(),
    })
}

fn read_limits(review: &mut Review<'_>, spec: &spec::ConnectionPool) -> Option<PoolLimits> {
    let (tcp, http) = (&spec.tcp, &spec.http);
    let mut sound = true;
    let mut limit = |review: &mut Review<'_>, name: &str, of: &Option<Spanned<i64>>| {
        let of = of.as_ref()?;
        // Protobuf does not tell 0 from a limit that is not there.
        match u32::try_from(of.value) {
            Ok(0) => None,
            Ok(value) if value <= i32::MAX.unsigned_abs() => Some(value),
            _ => {
                review.error(of, format!("`{name}` is 1 to {}, or 0 for no limit", i32::MAX));
                sound = false;
                None
            }
        }
    };
    let mut limits = PoolLimits {
        connections: limit(review, "maxConnections", &tcp.max_connections),
        pending: limit(review, "http1MaxPendingRequests", &http.http1_max_pending_requests),
        requests: limit(review, "http2MaxRequests", &http.http2_max_requests),
        requests_per_connection: limit(
            review,
            "maxRequestsPerConnection",
            &http.max_requests_per_connection,
        ),
        retries: limit(review, "maxRetries", &http.max_retries),
        streams: limit(review, "maxConcurrentStreams", &http.max_concurrent_streams),
        ..PoolLimits::default()
    };
    let mut span = |found: Option<Option<Duration>>| {
        sound &= found.is_some();
        found.flatten()
    };
    if let Some(timeout) = &tcp.connect_timeout {
        let timeout = review.duration("connectTimeout", timeout);
        limits.connect_timeout = span(timeout.map(Some)).unwrap_or(limits.connect_timeout);
    }
    if let Some(age) = &tcp.max_connection_duration {
        limits.connection_age = span(review.duration("maxConnectionDuration", age).map(Some));
    }
    // That of HTTP counts if there are both.
    if let Some(idle) = http.idle_timeout.as_ref().or(tcp.idle_timeout.as_ref()) {
        limits.idle_timeout = span(review.duration_or_off("idleTimeout", idle));
    }
    sound.then_some(limits)
}

fn read_outlier(review: &mut Review<'_>, of: &Spanned<spec::OutlierDetection>) -> Option<Outlier> {
    let spec = &of.value;
    let mut outlier = Outlier::default();
    if let Some(old) = &spec.consecutive_errors {
        review.warning(
            old,
            "`consecutiveErrors` is deprecated and has no effect; use `consecutive5xxErrors` or `consecutiveGatewayErrors`",
        );
    }
    let count = |of: &Spanned<u32>| (of.value > 0).then_some(of.value);
    if let Some(errors) = &spec.consecutive_5xx_errors {
        outlier.server_errors = count(errors);
    }
    if let Some(errors) = &spec.consecutive_gateway_errors {
        outlier.gateway_errors = count(errors);
        // They are counted in the 5xx too, which get there first.
        if let (Some(gateway), Some(server)) = (outlier.gateway_errors, outlier.server_errors)
            && gateway >= server
        {
            review.warning(
                errors,
                format!("`consecutiveGatewayErrors` has no effect: it is not below `consecutive5xxErrors`, {server}, which counts the same errors and more"),
            );
        }
    }
    outlier.split = spec.split_external_local_origin_errors.unwrap_or_default();
    match (&spec.consecutive_local_origin_failures, outlier.split) {
        (Some(failures), true) => outlier.local_failures = count(failures),
        (Some(failures), false) => {
            review.error(
                failures,
                "`consecutiveLocalOriginFailures` needs `splitExternalLocalOriginErrors: true`",
            );
            return None;
        }
        (None, true) => outlier.local_failures = Some(5),
        (None, false) => {}
    }
    let span = |review: &mut Review<'_>, name, of: &Option<Spanned<Span>>, default| match of {
        Some(span) => review.duration(name, span),
        None => Some(default),
    };
    outlier.interval = span(review, "interval", &spec.interval, outlier.interval)?;
    outlier.base_ejection =
        span(review, "baseEjectionTime", &spec.base_ejection_time, outlier.base_ejection)?;
    outlier.longest_ejection = LONGEST_EJECTION.max(outlier.base_ejection);
    let percent = |review: &mut Review<'_>, of: &Option<Spanned<i64>>, default| match of {
        None => Some(default),
        Some(of) => match u32::try_from(of.value) {
            Ok(value) if value <= 100 => Some(value),
            _ => {
                review.error(of, "a percentage is 0 to 100");
                None
            }
        },
    };
    outlier.most_ejected_percent =
        percent(review, &spec.max_ejection_percent, outlier.most_ejected_percent)?;
    outlier.least_healthy_percent = percent(review, &spec.min_health_percent, 0)?;
    for code in &spec.outlier_detection_http_error_codes {
        outlier.error_codes.insert(review.status(code, 100..=599)?);
    }
    let most = outlier.most_ejected_percent;
    // Envoy no longer ejects one endpoint regardless (envoyproxy/envoy, pull request 27909).
    let too_few = match most {
        0 => Some("`maxEjectionPercent` is 0, so that no endpoint is ever ejected".to_owned()),
        1..=99 => Some(format!(
            "no endpoint is ejected while there are fewer than {}: one of them would be more than `maxEjectionPercent`, {most} %",
            100_u32.div_ceil(most)
        )),
        _ => None,
    };
    if let Some(too_few) = too_few {
        match &spec.max_ejection_percent {
            Some(written) => review.warning(written, too_few),
            None => review.warning(of, too_few),
        }
    }
    Some(outlier)
}

fn read_budget(review: &mut Review<'_>, of: &Spanned<spec::RetryBudget>) -> Option<RetryBudget> {
    let default = RetryBudget::default();
    let percent = of.value.percent.unwrap_or(default.percent);
    if !(0.0..=100.0).contains(&percent) {
        review.error(of, "a percentage is 0 to 100");
        return None;
    }
    Some(RetryBudget { percent, least: of.value.min_retry_concurrency.unwrap_or(default.least) })
}

fn read_tls(review: &mut Review<'_>, of: &Spanned<spec::TlsSettings>) -> Option<ClientTls> {
    let spec = &of.value;
    let mode = spec.mode.value;
    let mutual = mode == TlsMode::Mutual;
    let checked = matches!(mode, TlsMode::Simple | TlsMode::Mutual);
    let text = |of: &Option<Spanned<String>>| of.as_ref().map(|text| text.value.as_str().into());
    let mut wrong = BTreeSet::new();
    for (name, there, allowed) in [
        ("clientCertificate", spec.client_certificate.is_some(), mutual),
        ("privateKey", spec.private_key.is_some(), mutual),
        ("caCertificates", spec.ca_certificates.is_some(), checked),
        ("insecureSkipVerify", spec.insecure_skip_verify.is_some(), checked),
        ("sni", spec.sni.is_some(), mode != TlsMode::Disable),
        ("subjectAltNames", !spec.subject_alt_names.is_empty(), mode != TlsMode::Disable),
    ] {
        if there && !allowed {
            wrong.insert(name);
        }
    }
    for name in &wrong {
        review.error(&spec.mode, format!("`{name}` has no meaning in this mode; remove it"));
    }
    if !wrong.is_empty() {
        return None;
    }
    let subject_alt_names = || spec.subject_alt_names.iter().map(|name| name.as_str().into());
    let skip_verify = spec.insecure_skip_verify.as_ref();
    if let Some(skip) = skip_verify.filter(|skip| skip.value) {
        review.warning(skip, "the destination's certificate is not checked: anybody can be it");
    }
    let trust = ServerTrust {
        ca_certificates: text(&spec.ca_certificates),
        subject_alt_names: subject_alt_names().collect(),
        sni: text(&spec.sni),
        skip_verify: skip_verify.is_some_and(|skip| skip.value),
    };
    match mode {
        TlsMode::Disable => Some(ClientTls::Disable),
        TlsMode::Simple => Some(ClientTls::Simple(trust)),
        TlsMode::IstioMutual => Some(ClientTls::IstioMutual {
            subject_alt_names: trust.subject_alt_names,
            sni: trust.sni,
        }),
        TlsMode::Mutual => match (text(&spec.client_certificate), text(&spec.private_key)) {
            (Some(certificate), Some(key)) => Some(ClientTls::Mutual { trust, certificate, key }),
            _ => {
                review.error(&spec.mode, "`MUTUAL` needs `clientCertificate` and `privateKey`");
                None
            }
        },
    }
}
