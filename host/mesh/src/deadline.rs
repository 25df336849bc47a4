use std::time::Duration;

use airhost_core::{Call, Dispatch, Response, Result, codes};

/// How long after the deadline the host waits for the service's own word about it, so that the
/// answer says where the time went.
const AFTERWORD: Duration = Duration::from_millis(50);

/// Dispatches a call and gives it up soon after its deadline: whoever answers it should have
/// kept it, and this makes sure.
pub(crate) async fn within_deadline(next: &dyn Dispatch, call: Call) -> Result<Response> {
    let deadline = call.context.deadline.instant() + AFTERWORD;
    tokio::time::timeout_at(deadline, next.dispatch(call))
        .await
        .unwrap_or_else(|_| Err(codes::DEADLINE_EXCEEDED.error("the request took too long")))
}
