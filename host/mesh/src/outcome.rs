use std::sync::Arc;

use airhost_core::{Response, RouteMatch};
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

/// Says why the host did something to a call, unless a reason is told already.
pub(crate) fn flag(response: &mut Response, flag: ResponseFlag) {
    let told = &mut response.extensions_mut().get_or_insert_default::<Outcome>().flag;
    if *told == ResponseFlag::None {
        *told = flag;
    }
}
