//! The ports: gateway, observability, and if wanted one for every service.

use std::{
    collections::BTreeSet,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use airhost_core::{Dispatch, Error, Result, ServiceName, codes};
use airhost_manifest::Manifest;
use airhost_mesh::{
    Gateway, HostPaths, Listener, ListenerConfig, PortSettings, RouteTable, ServiceRoutes,
};

use crate::{config::Config, facts::NodeFacts, observability::Observability, services::Services};

/// The routes of a node without a folder of policies.
const ROUTES: &str = include_str!("../../../policies/gateway/routes.yaml");
/// The service behind the public port.
pub(crate) const GATEWAY: &str = "api-gateway";
/// pyairtable sends uploads there whatever its endpoint is; with `HTTP_PROXY` they come here.
const UPLOADS: &str = "content.airtable.com";

/// Ports that are open.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) gateway: Listener,
    pub(crate) observability: Listener,
    pub(crate) services: Vec<(ServiceName, Listener)>,
}

/// The gateway's routes, from the folder of policies if it is there.
pub(crate) fn gateway(config: &Config, services: &Arc<Services>) -> Result<Arc<Gateway>> {
    let gateway = Gateway::new(routes(config)?, Arc::clone(&services.mesh) as Arc<dyn Dispatch>);
    services.route_to(destinations(&gateway));
    Ok(Arc::new(gateway))
}

/// The routes of a configuration: those in its folder of policies, or the host's own.
fn routes(config: &Config) -> Result<RouteTable> {
    let folder = routes_folder(config);
    let table = match folder.is_dir() {
        true => RouteTable::load(&folder),
        false => RouteTable::parse([("policies/gateway/routes.yaml", ROUTES)]),
    };
    table.map_err(|error| {
        codes::CONFIG_INVALID
            .error(format!("the gateway's routes in {}: {error}", folder.display()))
    })
}

/// Checks the gateway's routes of a configuration; answers how many there are.
///
/// # Errors
/// `config.invalid`, with the file, the line and what is wrong.
pub fn check_routes(config: &Config) -> Result<usize> {
    routes(config).map(|table| table.routes().len())
}

/// Finds out before the services are compiled that a port cannot be had. One that is lost between
/// here and its opening is reported then.
pub(crate) fn check_ports(config: &Config) -> Result<()> {
    let listeners = &config.listeners;
    for (address, option) in [
        (listeners.gateway, "gateway"),
        (listeners.admin, "admin"),
        (listeners.observability, "observability"),
    ] {
        std::net::TcpListener::bind(address)
            .map_err(|error| cannot_open(address, &error, &format!("listeners.{option}")))?;
    }
    Ok(())
}

/// Why a port is not open.
pub(crate) fn cannot_open(address: SocketAddr, error: &dyn Display, purpose: &str) -> Error {
    codes::LISTEN_FAILED
        .error(format!("{address} cannot be opened: {error}; choose another address for {purpose}"))
}

/// The services that routes lead to.
fn destinations(gateway: &Gateway) -> BTreeSet<ServiceName> {
    gateway.routes().routes().iter().map(|route| route.service().clone()).collect()
}

/// Where the gateway's routes are.
pub(crate) fn routes_folder(config: &Config) -> std::path::PathBuf {
    Path::new(&config.node.policies).join("gateway")
}

impl Ports {
    /// Opens them all; none stays open if one cannot be had.
    pub(crate) async fn open(
        config: &Config,
        services: &Arc<Services>,
        gateway: &Arc<Gateway>,
        accepting: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let facts = Arc::new(NodeFacts(Arc::clone(services)));
        let name = |text: &str| -> Result<ServiceName> {
            text.parse().map_err(|error| codes::INTERNAL.error(format!("{error}")))
        };
        let public = name(GATEWAY)?;
        // Metrics and the host's own document are not for the public; the gateway merges its own.
        let paths = HostPaths { probes: true, metrics: false, openapi: false };
        let routed: Arc<dyn Dispatch> = Arc::clone(gateway) as _;
        let door = ServiceRoutes::new(public.clone(), paths, Arc::clone(&facts) as _, routed);
        let opening = Opening {
            config,
            services,
            name: public,
            address: config.listeners.gateway,
            purpose: "listeners.gateway",
        };
        let gateway = opening.bind(gateway_settings(services, gateway), Arc::new(door)).await?;

        let probes = Observability {
            services: Arc::clone(services),
            facts: Arc::clone(&facts),
            accepting: Arc::clone(accepting),
        };
        let observability = Opening {
            config,
            services,
            name: name("observability")?,
            address: config.listeners.observability,
            purpose: "listeners.observability",
        };
        let observability = observability.bind(PortSettings::default(), Arc::new(probes)).await?;

        let mut each = Vec::new();
        if let Some(address) = config.listeners.services {
            for service in services.all() {
                let listener =
                    Self::service(config, services, &facts, address, &service.manifest).await?;
                each.push((service.manifest.name.clone(), listener));
            }
        }
        Ok(Self { gateway, observability, services: each })
    }

    async fn service(
        config: &Config,
        services: &Arc<Services>,
        facts: &Arc<NodeFacts>,
        address: IpAddr,
        manifest: &Manifest,
    ) -> Result<Listener> {
        let name = manifest.name.clone();
        let next: Arc<dyn Dispatch> = Arc::clone(&services.mesh) as _;
        let routes =
            ServiceRoutes::new(name.clone(), HostPaths::default(), Arc::clone(facts) as _, next);
        let opening = Opening {
            config,
            services,
            name,
            address: SocketAddr::new(address, manifest.port),
            purpose: "a service's port (listeners.services)",
        };
        opening.bind(settings(services, manifest.name.as_str()), Arc::new(routes)).await
    }

    /// Stops accepting and lets requests in flight finish; answers how many connections were cut.
    pub(crate) async fn drain(&self, grace: Duration) -> usize {
        let services = self.services.iter().map(|(_, listener)| listener.drain(grace));
        let (gateway, services) =
            tokio::join!(self.gateway.drain(grace), futures_util::future::join_all(services));
        gateway.cut + services.iter().map(|drained| drained.cut).sum::<usize>()
    }

    /// Puts changed routes in force at the public port.
    pub(crate) fn routes_changed(&self, services: &Services, gateway: &Gateway) {
        services.route_to(destinations(gateway));
        self.gateway.update(gateway_settings(services, gateway));
    }

    /// Where they listen, by purpose.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let fixed = [("gateway", &self.gateway), ("observability", &self.observability)];
        let fixed =
            fixed.map(|(name, listener)| (name.to_owned(), listener.local_addr().to_string()));
        let services = self.services.iter();
        let services =
            services.map(|(name, listener)| (name.to_string(), listener.local_addr().to_string()));
        fixed.into_iter().chain(services).collect()
    }
}

/// A port to be opened.
struct Opening<'a> {
    config: &'a Config,
    services: &'a Services,
    name: ServiceName,
    address: SocketAddr,
    purpose: &'a str,
}

impl Opening<'_> {
    async fn bind(
        self,
        settings: PortSettings,
        dispatch: Arc<dyn Dispatch>,
    ) -> Result<Listener, Error> {
        let mut config = ListenerConfig::new(self.name, self.address);
        config.connections = usize::try_from(self.config.limits.connections).unwrap_or(usize::MAX);
        config.trusted_proxies =
            self.config.listeners.trusted_proxies.iter().map(|ip| (*ip).into()).collect();
        config.absolute_hosts = vec![UPLOADS.to_owned()];
        Listener::bind(config, settings, dispatch, &self.services.engines.telemetry)
            .await
            .map_err(|error| cannot_open(self.address, &error, self.purpose))
    }
}

/// What the gateway's manifest says about requests; how large one may be is each route's own
/// affair.
fn gateway_settings(services: &Services, gateway: &Gateway) -> PortSettings {
    PortSettings { body: gateway.routes().largest_body(), ..settings(services, GATEWAY) }
}

/// What the manifest says about requests.
fn settings(services: &Services, name: &str) -> PortSettings {
    let Some(service) = services.get(name) else { return PortSettings::default() };
    let limits = service.manifest.limits();
    PortSettings {
        wall: limits.wall,
        body: limits.body.get(),
        inline_body: limits.inline_body.get(),
    }
}
