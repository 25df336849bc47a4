use std::{net::IpAddr, sync::Arc};

use crate::{
    CorrelationId, Deadline, Principal, Propagated, Request, ServiceName, SpiffeId, Tenant,
    TraceContext,
};

/// A request on its way to a service or a host, and all that travels with it.
#[derive(Debug)]
pub struct Call {
    /// Where it goes.
    pub target: Target,
    /// What is asked. Its headers never carry identity.
    pub request: Request,
    /// Who asks, for whom, until when.
    pub context: CallContext,
    /// Open options of the caller (`priority`, `secret-scope`, `route`).
    pub attrs: Vec<(String, String)>,
    /// The pool of the service that was chosen for it; its default pool if none was.
    pub pool: Option<Arc<str>>,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service of the platform.
    Service(ServiceName),
    /// A host outside, as in the request's URI.
    External,
}

/// Who makes a call, as the host knows it: by construction in process, by certificate between
/// nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client at a public listener.
    Public,
    /// A service.
    Service {
        /// Its name.
        name: ServiceName,
        /// Its identity.
        identity: SpiffeId,
    },
    /// The host itself: probes, jobs, ticks, deliveries, the command line.
    Host,
}

impl Caller {
    /// The calling service's name, if a service calls.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service { name, .. } => Some(name),
            Self::Public | Self::Host => None,
        }
    }
}

/// What the host knows of a call. It goes along with every call made on its behalf; no guest and
/// no header can set it.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The immediate caller.
    pub caller: Caller,
    /// The verified end user.
    pub principal: Option<Arc<Principal>>,
    /// Whose data is asked for: the principal's tenant, or that of the event or job.
    pub tenant: Option<Tenant>,
    /// When it is given up.
    pub deadline: Deadline,
    /// Names the work in logs.
    pub correlation: CorrelationId,
    /// The caller's span.
    pub trace: TraceContext,
    /// How many calls deep it is; 0 at a listener.
    pub depth: u8,
    /// For queues in front of paced hosts.
    pub priority: Priority,
    /// The other end of the connection that it came in by; none in process.
    pub source_ip: Option<IpAddr>,
    /// The client's address, as trusted proxies tell it.
    pub client_ip: Option<IpAddr>,
    /// The gateway route that matched.
    pub route: Option<Arc<RouteMatch>>,
    /// What else of the client's trace travels along.
    pub propagated: Option<Arc<Propagated>>,
}

impl CallContext {
    /// Nested calls beyond this answer `call.depth` (508).
    pub const MAX_DEPTH: u8 = 16;

    /// The context of a call that begins at this node.
    #[must_use]
    pub fn root(caller: Caller, deadline: Deadline) -> Self {
        Self {
            caller,
            principal: None,
            tenant: None,
            deadline,
            correlation: CorrelationId::generate(),
            trace: TraceContext::generate(),
            depth: 0,
            priority: Priority::Normal,
            source_ip: None,
            client_ip: None,
            route: None,
            propagated: None,
        }
    }

    /// The context of a call that `service` makes while it handles this one. The span stays the
    /// caller's own: whoever takes the call on begins one of its own below it.
    #[must_use]
    pub fn nested(&self, service: &ServiceName, identity: &SpiffeId) -> Self {
        Self {
            caller: Caller::Service { name: service.clone(), identity: identity.clone() },
            depth: self.depth.saturating_add(1),
            source_ip: None,
            route: None,
            ..self.clone()
        }
    }
}

/// Which of several waiting calls goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Background work.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Someone is waiting.
    High,
}

/// The gateway route that a request matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The route's name.
    pub name: Arc<str>,
    /// Path parameters, decoded.
    pub params: Vec<(String, String)>,
}
