//! Calls to other services and granted hosts.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{Body, BodyWriter, Outgoing, Proxy, json, params::percent_encode};
use crate::{
    Error, Result,
    bindings::pyairtable::service::http::{BodyOut, Field},
    imports::client,
};

/// A call being put together. Tenant, principal, deadline, trace and correlation travel with it
/// by themselves.
///
/// ```no_run
/// # #[derive(serde::Deserialize)] struct Verdict { allowed: bool }
/// # fn f() -> sdk::Result<()> {
/// let verdict: Verdict = sdk::http::post("http://permission-service/api/v1/permissions/check")
///     .json(&serde_json::json!({"action": "read", "resource": "base/app1"}))
///     .send()?
///     .success()?
///     .json()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Call {
    outgoing: Outgoing,
    failure: Option<Error>,
}

/// A call with any method.
pub fn request(method: &str, url: impl Into<String>) -> Call {
    Call {
        outgoing: Outgoing {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: BodyOut::None,
            timeout_ms: None,
            attrs: Vec::new(),
        },
        failure: None,
    }
}

/// A `GET`.
pub fn get(url: impl Into<String>) -> Call {
    request("GET", url)
}

/// A `POST`.
pub fn post(url: impl Into<String>) -> Call {
    request("POST", url)
}

/// A `PUT`.
pub fn put(url: impl Into<String>) -> Call {
    request("PUT", url)
}

/// A `PATCH`.
pub fn patch(url: impl Into<String>) -> Call {
    request("PATCH", url)
}

/// A `DELETE`.
pub fn delete(url: impl Into<String>) -> Call {
    request("DELETE", url)
}

impl Call {
    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.outgoing.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        let url = &mut self.outgoing.url;
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&percent_encode(name));
        url.push('=');
        url.push_str(&percent_encode(&value.to_string()));
        self
    }

    /// Sends JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.outgoing.body = BodyOut::Bytes(body),
            Err(error) => {
                self.failure = Some(Error::internal(format!("the call is not JSON: {error}")));
            }
        }
        self.header("content-type", "application/json")
    }

    /// Sends a form (`application/x-www-form-urlencoded`).
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = fields
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        self.body(body).header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sends bytes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.outgoing.body = BodyOut::Bytes(body.into());
        self
    }

    /// Hands on the body of the request that is being handled, unread, moved by the host.
    pub fn request_body(mut self) -> Self {
        self.outgoing.body = BodyOut::RequestBody;
        self
    }

    /// At most so long; at most what is left of the caller's deadline, which is the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// `low`, `normal` or `high`, for paced hosts.
    pub fn priority(self, priority: &str) -> Self {
        self.attr("priority", priority)
    }

    /// The name that an injection rule of the manifest asks for as `{scope}`.
    pub fn secret_scope(self, scope: &str) -> Self {
        self.attr("secret-scope", scope)
    }

    /// An open option.
    pub fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.outgoing.attrs.push((name.to_owned(), value.into()));
        self
    }

    /// Makes the call and waits for the head of the answer. Any status is an answer.
    ///
    /// # Errors
    /// `call.*`, `tx.open`, `deadline.exceeded`.
    pub fn send(self) -> Result<Answer> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        Ok(Answer(client::call(&self.outgoing)?))
    }

    /// Starts the call, to run beside others. At most 64 at once.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `call.too-many`.
    pub fn start(self) -> Result<Pending> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        Ok(Pending(client::start(&self.outgoing)?))
    }

    /// Starts the call with a body that is written in pieces.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_streaming(self) -> Result<(BodyWriter, Pending)> {
        let (writer, pending) = client::start_streaming(&self.outgoing)?;
        Ok((BodyWriter::new(writer), Pending(pending)))
    }

    /// Answers the client with what the call answers, moved by the host after this instance is
    /// gone.
    pub fn proxy(self) -> Proxy {
        Proxy::to(self.outgoing)
    }
}

/// A call under way. Dropping it cancels the call.
#[derive(Debug)]
pub struct Pending(client::Pending);

impl Pending {
    /// The answer, once: none while it is under way.
    #[must_use]
    pub fn take(&self) -> Option<Result<Answer>> {
        self.0.take().map(|answer| answer.map(Answer).map_err(Error::from))
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub fn join(self) -> Result<Answer> {
        loop {
            if let Some(answer) = self.take() {
                return answer;
            }
            if wait_any(&[&self], crate::context::remaining()).is_empty() {
                return Err(Error::new(
                    504,
                    "deadline.exceeded",
                    "the call was not answered in time",
                ));
            }
        }
    }
}

/// Waits until one or more calls have an answer, or the time is over; answers their indices.
#[must_use]
pub fn wait_any(calls: &[&Pending], timeout: Duration) -> Vec<usize> {
    let calls: Vec<&client::Pending> = calls.iter().map(|pending| &pending.0).collect();
    let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    client::wait_any(&calls, timeout).into_iter().map(|index| index as usize).collect()
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answer(client::Incoming);

const MAX_ANSWER: u64 = 8 << 20;

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Whether the status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// All values of a field joined by `, `; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// All fields.
    #[must_use]
    pub fn headers(&self) -> Vec<Field> {
        self.0.headers()
    }

    /// The answer, or an error if the status is none of success: 404 and 409 stay themselves, 429
    /// and 503 keep their `Retry-After`, everything else becomes 502. The other side's `detail`
    /// is kept.
    ///
    /// # Errors
    /// `upstream.*`.
    pub fn success(self) -> Result<Self> {
        if self.is_success() {
            return Ok(self);
        }
        let status = self.status();
        let retry = self.header("retry-after").and_then(|s| s.trim().parse::<u64>().ok());
        let detail = self
            .json::<serde_json::Value>()
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()))
            .unwrap_or_else(|| format!("the service behind answered {status}"));
        let mut error = match status {
            404 => Error::new(404, "upstream.not-found", detail),
            409 => Error::new(409, "upstream.conflict", detail),
            429 => Error::new(429, "upstream.limited", detail),
            503 => Error::new(503, "upstream.unavailable", detail),
            _ => Error::bad_gateway(detail),
        };
        if let Some(seconds) = retry {
            error = error.retry_after_ms(seconds.saturating_mul(1000));
        }
        Err(error)
    }

    /// The body (at most 8 MiB) as JSON.
    ///
    /// # Errors
    /// `body.too-large`, `body.truncated`, and 502 `upstream.answer` if it does not fit.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let body = self.bytes()?;
        json::parse(&body)
            .map_err(|error| Error::bad_gateway(format!("the answer does not fit: {error}")))
    }

    /// The body (at most 8 MiB).
    ///
    /// # Errors
    /// `body.too-large`, `body.truncated`.
    pub fn bytes(self) -> Result<Vec<u8>> {
        Ok(self.0.read_body(MAX_ANSWER)?)
    }

    /// The body (at most 8 MiB) as text; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// The body in pieces.
    #[must_use]
    pub fn body(self) -> Body {
        Body::new(self.0.body())
    }
}
