use async_trait::async_trait;

use crate::{Call, Response, Result};

/// Takes a call and answers it: the one trait between the mesh and the runtime, in both
/// directions.
///
/// The runtime implements it to serve (the target is a service on this node), the mesh implements
/// it to route (policy, endpoint, retries) for whatever a listener or a guest asks. Dropping the
/// future cancels the call and everything done on its behalf. An answer of any status is `Ok`;
/// an error means that there was no answer.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Answers the call.
    async fn dispatch(&self, call: Call) -> Result<Response>;
}
