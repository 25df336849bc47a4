//! Hosts outside the mesh, or inside it but not of the platform, `ServiceEntry`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_saphyr::Spanned;

use super::{
    hosts::Pattern,
    review::{Review, Visibility},
    spec,
};
use crate::{document::Metadata, finding::Place};

/// The annotation by which names may resolve to loopback, private and link-local addresses.
const ALLOW_PRIVATE: &str = "airhost.dev/allow-private";

/// Hosts that may be called, how they are spoken to and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// `namespace/name`.
    pub resource: Arc<str>,
    /// Where it is written.
    pub place: Place,
    /// The ports that may be called, at least one.
    pub ports: Vec<ServicePort>,
    /// How addresses are found.
    pub resolution: Resolution,
    /// Whether it belongs to the mesh, so that mTLS is spoken to it (`MESH_INTERNAL`).
    pub in_mesh: bool,
    /// Where it is, if the name does not say so.
    pub endpoints: Vec<Endpoint>,
    /// Names of which the certificate must have one, instead of the host.
    pub subject_alt_names: Vec<Box<str>>,
    /// Whether names may resolve to loopback, private and link-local addresses. What `endpoints`
    /// lists is allowed anyway: it does not come from somebody else's DNS.
    pub allow_private: bool,
}

/// A port of a [`ServiceEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// As it is called.
    pub number: u16,
    /// Its name, which endpoints refer to.
    pub name: Box<str>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The port of the endpoints, unless they say otherwise.
    pub target: u16,
}

/// What is spoken to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 in the clear (`HTTP`).
    Http,
    /// HTTP/2 in the clear (`HTTP2`, `GRPC`).
    Http2,
    /// HTTP over TLS, the version by ALPN (`HTTPS`, `TLS`).
    Https,
}

/// How the addresses of a host are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Asked of DNS at the time of the call (`NONE`, where Istio takes the caller's answer).
    None,
    /// `endpoints` are the addresses.
    Static,
    /// DNS, of the host's name or of those in `endpoints`.
    Dns,
    /// DNS, of which one address is used until the answer changes.
    DnsRoundRobin,
}

/// One address of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// An address, or a name to resolve.
    pub address: Address,
    /// Labels, which subsets select by.
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`.
    pub locality: Option<Box<str>>,
    /// Its share of calls. 1.
    pub weight: u32,
    ports: BTreeMap<Box<str>, u16>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// There.
    Ip(IpAddr),
    /// Where DNS says.
    Name(Box<str>),
}

impl ServiceEntry {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

impl Endpoint {
    /// The port that a call to `port` goes to here.
    #[must_use]
    pub fn port(&self, port: &ServicePort) -> u16 {
        self.ports.get(&port.name).copied().unwrap_or(port.target)
    }
}

/// A `ServiceEntry` with who sees it and for what.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) namespace: Arc<str>,
    pub(super) visibility: Visibility,
    pub(super) hosts: Vec<(Pattern, Place)>,
    pub(super) entry: Arc<ServiceEntry>,
}

impl Entry {
    /// Reads a `ServiceEntry`. None if it is wrong, which the review then says.
    pub(super) fn read(
        review: &mut Review<'_>,
        metadata: &Metadata,
        spec: &spec::ServiceEntry,
    ) -> Option<Self> {
        let allow_private = review.switch(metadata, ALLOW_PRIVATE);
        review.own_annotations(metadata, &[ALLOW_PRIVATE]);
        let visibility = review.export_to(spec.export_to.as_ref());
        let resolution = match spec.resolution.as_ref().map(|resolution| resolution.value) {
            None | Some(spec::Resolution::None) => Resolution::None,
            Some(spec::Resolution::Static) => Resolution::Static,
            Some(spec::Resolution::Dns) => Resolution::Dns,
            Some(spec::Resolution::DnsRoundRobin) => Resolution::DnsRoundRobin,
        };
        let hosts = read_hosts(review, spec, resolution);
        let ports = read_ports(review, spec);
        let endpoints = spec
            .endpoints
            .iter()
            .filter_map(|endpoint| read_endpoint(review, endpoint, &ports, resolution))
            .collect();
        match resolution {
            Resolution::None if !spec.endpoints.is_empty() => review.error(
                &spec.hosts,
                "`endpoints` need `resolution: STATIC` for addresses or `DNS` for names",
            ),
            Resolution::Static if spec.endpoints.is_empty() => {
                review.error(&spec.hosts, "`resolution: STATIC` needs `endpoints`");
            }
            _ => {}
        }
        review.is_clean().then(|| Self {
            namespace: Arc::clone(&review.namespace),
            visibility,
            hosts,
            entry: Arc::new(ServiceEntry {
                resource: Arc::clone(&review.resource),
                place: review.place.clone(),
                ports,
                resolution,
                in_mesh: spec.location == spec::Location::MeshInternal,
                endpoints,
                subject_alt_names: spec
                    .subject_alt_names
                    .iter()
                    .map(|name| name.as_str().into())
                    .collect(),
                allow_private,
            }),
        })
    }
}

fn read_hosts(
    review: &mut Review<'_>,
    spec: &spec::ServiceEntry,
    resolution: Resolution,
) -> Vec<(Pattern, Place)> {
    let mut hosts: Vec<(Pattern, Place)> = Vec::new();
    if spec.hosts.value.is_empty() {
        review.error(&spec.hosts, "`hosts` is empty; name the hosts that may be called");
    }
    for text in &spec.hosts.value {
        let Some(pattern) = review.host(text) else { continue };
        let unresolved = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
            && spec.endpoints.is_empty();
        if pattern.is_any() {
            review.error(
                text,
                "`*` would open every host outside; name the hosts that may be called",
            );
        } else if pattern.exact().is_none() && unresolved {
            review.error(
                text,
                format!("`{}` is many hosts, which `resolution: DNS` cannot look up; use `NONE`, which looks up the host of each call", text.value),
            );
        } else if hosts.iter().any(|(other, _)| *other == pattern) {
            review.error(text, format!("`{pattern}` is there twice; remove one"));
        } else {
            hosts.push((pattern, review.at(text)));
        }
    }
    hosts
}

fn read_ports(review: &mut Review<'_>, spec: &spec::ServiceEntry) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    if spec.ports.is_empty() {
        review.error(&spec.hosts, "`ports` is empty; name the ports that may be called");
    }
    for of in &spec.ports {
        let port = &of.value;
        let Some(number) = review.port(&port.number) else { continue };
        let name = port.name.as_ref().map_or_else(|| number.to_string(), |name| name.value.clone());
        let protocol = match &port.protocol {
            Some(text) => match protocol(&text.value) {
                Some(protocol) => protocol,
                None => {
                    review.error(
                        text,
                        format!("`{}` is not supported: the mesh carries HTTP; use HTTP, HTTP2, GRPC, HTTPS or TLS", text.value),
                    );
                    continue;
                }
            },
            // By the name, as in Istio: `https-api` is HTTPS.
            None => match protocol(name.split('-').next().unwrap_or_default()) {
                Some(protocol) => protocol,
                None => {
                    review.error(
                        of,
                        "the port has no `protocol`; use HTTP, HTTP2, GRPC, HTTPS or TLS",
                    );
                    continue;
                }
            },
        };
        let target = match &port.target_port {
            Some(target) => review.port(target),
            None => Some(number),
        };
        let Some(target) = target else { continue };
        if ports.iter().any(|other| other.number == number) {
            review.error(of, format!("port {number} is there twice; remove one"));
        } else if ports.iter().any(|other| *other.name == *name) {
            review.error(of, format!("two ports are named `{name}`; rename one"));
        } else {
            ports.push(ServicePort { number, name: name.into(), protocol, target });
        }
    }
    ports
}

fn protocol(text: &str) -> Option<Protocol> {
    match text.to_ascii_uppercase().as_str() {
        "HTTP" => Some(Protocol::Http),
        "HTTP2" | "GRPC" => Some(Protocol::Http2),
        "HTTPS" | "TLS" => Some(Protocol::Https),
        _ => None,
    }
}

fn read_endpoint(
    review: &mut Review<'_>,
    of: &Spanned<spec::Endpoint>,
    ports: &[ServicePort],
    resolution: Resolution,
) -> Option<Endpoint> {
    let spec = &of.value;
    let text = &spec.address;
    let address = match text.value.parse::<IpAddr>() {
        Ok(address) => Address::Ip(address),
        Err(_) if resolution == Resolution::Static => {
            review.error(
                text,
                format!("`{}` is not an address; names need `resolution: DNS`", text.value),
            );
            return None;
        }
        Err(_) => Address::Name(review.exact_host(text)?.as_ref().into()),
    };
    let mut own = BTreeMap::new();
    for (name, number) in &spec.ports {
        if !ports.iter().any(|port| *port.name == **name) {
            review.error(number, format!("the entry has no port named `{name}`"));
        }
        own.insert(name.as_str().into(), review.port(number)?);
    }
    Some(Endpoint {
        address,
        labels: spec.labels.clone(),
        locality: spec.locality.as_deref().map(Into::into),
        weight: spec.weight.as_ref().map_or(1, |weight| weight.value.max(1)),
        ports: own,
    })
}
