//! One thing that a rule asks for, compiled.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::{
    identity::{Account, Namespace, RequestPrincipal, principal_matches},
    template::Template,
};
use crate::{
    claims::Claims,
    security::request::{Channel, Request},
    text::Text,
};

/// Values of which one must hold, and values of which none may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lists<T> {
    pub(super) one_of: Box<[T]>,
    pub(super) none_of: Box<[T]>,
}

impl<T> Lists<T> {
    fn hold(&self, test: impl Fn(&T) -> bool) -> bool {
        (self.one_of.is_empty() || self.one_of.iter().any(&test)) && !self.none_of.iter().any(&test)
    }

    /// The same for what may not be there: no value holds for nothing.
    fn hold_for<A>(&self, subject: Option<A>, test: impl Fn(&T, &A) -> bool) -> bool {
        match subject {
            Some(subject) => self.hold(|value| test(value, &subject)),
            None => self.one_of.is_empty(),
        }
    }
}

/// A value of `paths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathValue {
    Text(Text),
    Template(Template),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Principal(Lists<Text>),
    Namespace(Lists<Namespace>),
    ServiceAccount(Lists<Account>),
    TrustDomain(Lists<Text>),
    RequestPrincipal(Lists<RequestPrincipal>),
    Audience(Lists<Text>),
    Presenter(Lists<Text>),
    Claim(Box<[Box<str>]>, Lists<Text>),
    SourceIp(Lists<IpNet>),
    RemoteIp(Lists<IpNet>),
    DestinationIp(Lists<IpNet>),
    Port(Lists<u16>),
    Sni(Lists<Text>),
    /// `hosts`, whose case does not count.
    Host(Lists<Text>),
    /// `request.headers[:authority]`, whose case does.
    Authority(Lists<Text>),
    Method(Lists<Text>),
    Path(Lists<PathValue>),
    Header(HeaderName, Lists<Text>),
}

impl Condition {
    /// Whether what it asks for exists on a channel.
    pub(super) fn exists_on(&self, channel: Channel) -> bool {
        match (channel, self) {
            (Channel::Http, _)
            | (
                Channel::Event,
                Self::Principal(_)
                | Self::Namespace(_)
                | Self::ServiceAccount(_)
                | Self::TrustDomain(_)
                | Self::Port(_),
            ) => true,
            (
                Channel::Event,
                Self::RequestPrincipal(_)
                | Self::Audience(_)
                | Self::Presenter(_)
                | Self::Claim(..)
                | Self::SourceIp(_)
                | Self::RemoteIp(_)
                | Self::DestinationIp(_)
                | Self::Sni(_)
                | Self::Host(_)
                | Self::Authority(_)
                | Self::Method(_)
                | Self::Path(_)
                | Self::Header(..),
            ) => false,
        }
    }

    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Principal(lists) => {
                lists.hold_for(request.peer, |value, peer| principal_matches(value, peer))
            }
            Self::Namespace(lists) => {
                lists.hold_for(request.peer, |value, peer| value.matches(peer))
            }
            Self::ServiceAccount(lists) => {
                lists.hold_for(request.peer, |value, peer| value.matches(peer))
            }
            Self::TrustDomain(lists) => {
                lists.hold_for(request.peer, |value, peer| value.matches(peer.trust_domain()))
            }
            Self::RequestPrincipal(lists) => {
                lists.hold_for(request.claims, |value, claims| value.matches(claims))
            }
            Self::Audience(lists) => lists.hold_for(request.claims, |value, claims| {
                claims.audiences.iter().any(|audience| value.matches(audience))
            }),
            Self::Presenter(lists) => {
                let presenter = request.claims.and_then(|claims| claims.presenter.as_deref());
                lists.hold_for(presenter, |value, presenter| value.matches(presenter))
            }
            Self::Claim(path, lists) => lists
                .hold_for(request.claims, |value, claims: &&Claims| {
                    claims.any(path, |claim| value.matches(claim))
                }),
            Self::SourceIp(lists) => holds_address(lists, request.source_ip),
            Self::RemoteIp(lists) => holds_address(lists, request.remote_ip),
            Self::DestinationIp(lists) => holds_address(lists, request.destination_ip),
            Self::Port(lists) => lists.hold(|port| *port == request.port),
            Self::Sni(lists) => lists.hold_for(request.sni, |value, sni| value.matches(sni)),
            Self::Host(lists) => lists.hold(|value| value.matches_any_case(request.host)),
            Self::Authority(lists) => lists.hold(|value| value.matches(request.host)),
            Self::Method(lists) => lists.hold(|value| value.matches(request.method)),
            Self::Path(lists) => lists.hold(|value| match value {
                PathValue::Text(text) => text.matches(request.path),
                PathValue::Template(template) => template.matches(request.path),
            }),
            Self::Header(name, lists) => holds_header(lists, request.headers, name),
        }
    }
}

fn holds_address(lists: &Lists<IpNet>, address: Option<IpAddr>) -> bool {
    // An IPv4 client of a socket for both is told as IPv6.
    let address = address.map(|address| address.to_canonical());
    lists.hold_for(address, |block, address| block.contains(address))
}

/// Several fields of one name are one with commas (Envoy: `getAllOfHeaderAsString`). `*` is
/// fulfilled by an empty field too (Istio: matcher/header.go, `PresentMatch`).
fn holds_header(lists: &Lists<Text>, headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut fields = headers.get_all(name).iter();
    let value = match (fields.next(), fields.next()) {
        (Some(first), Some(second)) => {
            let mut joined = first.as_bytes().to_vec();
            for field in std::iter::once(second).chain(fields) {
                joined.push(b',');
                joined.extend_from_slice(field.as_bytes());
            }
            return lists.hold(|value| has_value(value, &joined));
        }
        (first, _) => first,
    };
    lists.hold_for(value, |value, field| has_value(value, field.as_bytes()))
}

fn has_value(value: &Text, field: &[u8]) -> bool {
    *value == Text::Any || value.matches_bytes(field)
}
