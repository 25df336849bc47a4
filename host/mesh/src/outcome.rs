use std::sync::Arc;

use airhost_core::RouteMatch;
use airhost_telemetry::ResponseFlag;

/// What the mesh tells the listener about a response it made or moved, for the access log. It
/// travels as an extension of the response, out of reach of guests.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Why the host decided, if it did.
    pub flag: ResponseFlag,
    /// The gateway route that matched.
    pub route: Option<Arc<RouteMatch>>,
}
