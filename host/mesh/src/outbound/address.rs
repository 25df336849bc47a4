//! Which addresses a call to a host outside may go to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// The name resolves to nothing that may be called.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to private addresses only")]
pub(crate) struct PrivateAddress;

/// The name does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(crate) struct Unresolved(#[source] io::Error);

/// Whether an address is of the public internet. Everything the IANA registries for special
/// purposes list is not, nor is an IPv6 address that carries such an IPv4 one: a name under an
/// attacker's control must not lead to this node, its neighbours or the cloud's metadata service.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4 carry an IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // IPv4-compatible, loopback and unspecified; local NAT64; discard; Teredo, benchmarking and
        // ORCHID; documentation.
        [0, 0, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, ..]
        | [0x100, ..]
        | [0x2001, 0..0x200 | 0xdb8, ..]
        | [0x3fff, 0..0x1000, ..] => false,
        // Only global unicast is left, 2000::/3.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names with the system's resolver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver {
    /// Whether private addresses may be answered.
    pub(crate) private: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private = self.private;
        Box::pin(async move {
            // The port is set by the connector.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Unresolved)?;
            let addresses: Vec<SocketAddr> =
                found.filter(|address| private || is_public(address.ip())).collect();
            if addresses.is_empty() {
                return Err(PrivateAddress.into());
            }
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2002:0101:0101::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused() {
        let name: Name = "localhost".parse().unwrap();
        let error = Resolver { private: false }.call(name.clone()).await.unwrap_err();
        assert!(error.is::<PrivateAddress>(), "{error}");
        assert!(Resolver { private: true }.call(name).await.unwrap().next().is_some());
    }
}
