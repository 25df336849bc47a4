use std::{borrow::Cow, sync::Arc};

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
    /// Why in a word, where the flag does not tell all (Envoy: `%RESPONSE_CODE_DETAILS%`).
    pub details: Option<Cow<'static, str>>,
}

impl Outcome {
    /// The word for the access log; none where the destination itself has answered.
    pub(crate) fn details(&self) -> Option<Cow<'static, str>> {
        let by_flag = || match self.flag {
            ResponseFlag::FaultInjected => Some("fault_filter_abort"),
            ResponseFlag::ExternallyDenied => Some("ext_authz_denied"),
            ResponseFlag::PolicyDenied => Some("rbac_access_denied_matched_policy[none]"),
            _ => None,
        };
        self.details.clone().or_else(|| by_flag().map(Cow::Borrowed))
    }
}

/// Says in a word where an answer comes from that is not the destination's own.
pub(crate) fn details(response: &mut Response, details: impl Into<Cow<'static, str>>) {
    response.extensions_mut().get_or_insert_default::<Outcome>().details = Some(details.into());
}

/// Says why the host did something to a call, unless a reason is told already.
pub(crate) fn flag(response: &mut Response, flag: ResponseFlag) {
    let told = &mut response.extensions_mut().get_or_insert_default::<Outcome>().flag;
    if *told == ResponseFlag::None {
        *told = flag;
    }
}
