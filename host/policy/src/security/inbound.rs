use std::sync::Arc;

use super::{
    authorization::Authorization,
    jwt::JwtRules,
    peer::{PeerMode, PeerModes},
};
use crate::rule::RuleName;

/// All that holds for what enters one workload, and nothing of what does not select it. Made once
/// for a workload and a [`crate::Snapshot`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// Who may do what.
    pub authorization: Authorization,
    /// Which tokens are taken.
    pub jwt: JwtRules,
    pub(super) peers: PeerModes,
}

impl Inbound {
    /// Whether connections to this port of the workload are TLS.
    #[must_use]
    pub fn peer_mode(&self, port: u16) -> PeerMode {
        self.peers.mode(port)
    }

    /// Which `PeerAuthentication` says so; none when it is Istio's default, `PERMISSIVE`.
    #[must_use]
    pub fn peer_rule(&self, port: u16) -> Option<&Arc<RuleName>> {
        self.peers.rule(port)
    }
}
