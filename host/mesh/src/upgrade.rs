//! Switches of protocol (RFC 9110, section 7.8): WebSocket, passed through.
//!
//! A listener marks a request that wants to switch with an [`UpgradeRequest`]; whoever sends it on
//! over HTTP/1.1 asks for the same switch, and leaves hyper's `OnUpgrade` in the extensions of its
//! 101 response. The listener then moves bytes between the two connections until one side is done.

use http::HeaderValue;

/// Extension of a request whose client wants to switch protocols. A guest that answers
/// `proxy(call)` hands it on with the request's extensions.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    /// The protocol asked for, as `websocket`.
    pub protocol: HeaderValue,
}
