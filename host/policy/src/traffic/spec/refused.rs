//! Fields that Istio has and the host does not: each says why when it is met.

use crate::refused::refused;

refused! {
    Delegate: "`delegate` is not supported: write the routes into this VirtualService",
    Tcp: "`tcp` routes are not supported: the mesh carries HTTP; use `http`",
    Tls: "`tls` routes are not supported: the mesh carries HTTP; use `http`",
    StatPrefix: "`statPrefix` is not supported: metrics are named by service, not by route; remove it",
    ExponentialDelay: "`exponentialDelay` is not supported, as in Istio; use `fixedDelay`",
    Http2Error: "`http2Error` is not supported, as in Istio; use `httpStatus` or `grpcStatus`",
    WorkloadSelector: "`workloadSelector` is not supported: the rule holds for every caller; remove it, or use a `subset` that only some callers' routes name",
    Tunnel: "`tunnel` is not supported: calls to hosts outside go to them directly; remove it",
    ProxyProtocol: "`proxyProtocol` is not supported between services and to hosts outside; remove it",
    Warmup: "a warm-up is not supported: a new revision is probed before it serves; remove it",
    Distribute: "`distribute` is not supported: endpoints of the caller's own locality are preferred, and `failover` or `failoverPriority` say what comes next",
    CookieTtl: "`ttl` is not supported: the mesh sets no cookie of its own; name one that clients send, and remove `ttl`",
    CookiePath: "`path` is not supported: the mesh sets no cookie of its own; name one that clients send, and remove `path`",
    H2Upgrade: "`h2UpgradePolicy` is not supported: nodes speak HTTP/2 to each other, and hosts outside choose by ALPN; remove it",
    ClientProtocol: "`useClientProtocol` is not supported: nodes speak HTTP/2 to each other, and hosts outside choose by ALPN; remove it",
    KeepAlive: "`tcpKeepalive` is not supported: dead connections are found by HTTP/2 pings; remove it",
    CredentialName: "`credentialName` is not supported: name files with `clientCertificate`, `privateKey` and `caCertificates`",
    Crl: "`caCrl` is not supported for calls to other hosts; remove it",
    Addresses: "`addresses` is not supported: calls are routed by name, not by a virtual address; remove it",
    EntrySelector: "`workloadSelector` is not supported: list the addresses in `endpoints`",
    Network: "`network` is not supported: every address is reached directly; remove it",
    EndpointAccount: "`serviceAccount` is not supported for an endpoint: use `subjectAltNames` of the entry",
}
