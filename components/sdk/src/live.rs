//! Push to connected clients; a handler hands the connection over with
//! [`http::Live`](crate::http::Live).

use serde::Serialize;

use crate::{Error, Result, bindings::pyairtable::events::live::Message, imports::live as wit};

/// Sends JSON to everyone who follows the channel; `kind` is the SSE `event`, empty for none.
/// Answers the message's number in the channel.
///
/// # Errors
/// `live.*`.
pub fn send(channel: &str, kind: &str, data: &(impl Serialize + ?Sized)) -> Result<u64> {
    let data = serde_json::to_string(data)
        .map_err(|error| Error::internal(format!("the message is not JSON: {error}")))?;
    send_text(channel, kind, &data)
}

/// Sends text as it is.
///
/// # Errors
/// `live.*`.
pub fn send_text(channel: &str, kind: &str, data: &str) -> Result<u64> {
    Ok(wit::send(channel, &Message { kind: kind.to_owned(), data: data.to_owned() })?)
}

/// Ends the channel: followers get what is left and the stream closes.
///
/// # Errors
/// `live.*`.
pub fn close(channel: &str) -> Result<()> {
    Ok(wit::close(channel)?)
}
