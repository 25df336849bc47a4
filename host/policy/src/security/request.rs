use std::net::IpAddr;

use airhost_core::SpiffeId;
use http::HeaderMap;

use crate::claims::Claims;

/// How something reaches a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// A request.
    #[default]
    Http,
    /// The delivery of an event. It has a sender and a port, and none of what only requests and
    /// connections have: method, host, path, header fields, claims of a token, addresses, SNI. As
    /// with Istio's policies on TCP, an ALLOW rule that asks for one of those is as if it was not
    /// there, and a DENY or AUDIT rule is as if it did not ask (Istio:
    /// pilot/pkg/security/authz/model/model.go, `checkError`).
    Event,
}

/// What a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How it came.
    pub channel: Channel,
    /// Who sends it, as the certificate or the host says; none for plain text.
    pub peer: Option<&'a SpiffeId>,
    /// Address of the sender's end of the connection; none in process. Lists of addresses do not
    /// hold what has none.
    pub source_ip: Option<IpAddr>,
    /// Address of the client, as trusted proxies tell it.
    pub remote_ip: Option<IpAddr>,
    /// Address it arrived at.
    pub destination_ip: Option<IpAddr>,
    /// The workload's port.
    pub port: u16,
    /// Name asked for in the TLS handshake.
    pub sni: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The authority as it was sent, with the port if there was one.
    pub host: &'a str,
    /// The path, normalized ([`crate::path::normalize`]), without the query.
    pub path: &'a str,
    /// The header.
    pub headers: &'a HeaderMap,
    /// Claims of the token, if it carried a valid one.
    pub claims: Option<&'a Claims>,
}

impl<'a> Request<'a> {
    /// A GET request in plain text to port 80, from nowhere in particular.
    #[must_use]
    pub fn new(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Self {
        Self {
            channel: Channel::Http,
            peer: None,
            source_ip: None,
            remote_ip: None,
            destination_ip: None,
            port: 80,
            sni: None,
            method: "GET",
            host,
            path,
            headers,
            claims: None,
        }
    }
}
