//! Who the client is, behind proxies.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// What is known of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// It is one of the configured proxies.
    pub(crate) trusted: bool,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, trusted: &[IpNet]) -> Self {
        Self { address, trusted: is_trusted(address.ip(), trusted) }
    }

    /// The client's address: the last one in `X-Forwarded-For` that is not a trusted proxy's,
    /// when a trusted proxy sent it.
    pub(crate) fn client(&self, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
        let mut client = self.address.ip().to_canonical();
        if !self.trusted {
            return client;
        }
        let hops = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.rsplit(','));
        for hop in hops {
            let Some(address) = parse(hop.trim()) else { break };
            client = address;
            if !is_trusted(address, trusted) {
                break;
            }
        }
        client
    }

    /// Whether the client's own connection is encrypted, as a trusted proxy says.
    pub(crate) fn forwarded_https(&self, headers: &HeaderMap) -> bool {
        self.trusted
            && headers
                .get("x-forwarded-proto")
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"))
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// An address as proxies write it, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let cases = [
            ("192.0.2.9:1", &["203.0.113.7"][..], "192.0.2.9"),
            ("10.1.1.1:1", &[], "10.1.1.1"),
            ("10.1.1.1:1", &["203.0.113.7"], "203.0.113.7"),
            ("10.1.1.1:1", &["6.6.6.6, 203.0.113.7, 10.2.2.2"], "203.0.113.7"),
            ("10.1.1.1:1", &["6.6.6.6", "203.0.113.7:443"], "203.0.113.7"),
            ("10.1.1.1:1", &["6.6.6.6, nonsense"], "10.1.1.1"),
            ("10.1.1.1:1", &["[2001:db8::1]:9"], "2001:db8::1"),
            ("[::ffff:10.1.1.1]:1", &["203.0.113.7"], "203.0.113.7"),
        ];
        for (peer, fields, client) in cases {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append("x-forwarded-for", field.parse().unwrap());
            }
            let peer = Peer::new(peer.parse().unwrap(), &trusted);
            assert_eq!(
                peer.client(&headers, &trusted),
                client.parse::<IpAddr>().unwrap(),
                "{peer:?} {fields:?}"
            );
        }
    }
}
