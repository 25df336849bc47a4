//! Calls to Airtable. The host paces them, puts the token in and breaks the circuit.

use sdk::{
    Error, Result,
    http::{self, percent_encode},
};
use serde::Deserialize;

use crate::{
    domain::{answer::Answer, connection::Connection},
    store,
};

const API: &str = "https://api.airtable.com";
/// Where files are uploaded to.
const CONTENT: &str = "https://content.airtable.com";

/// A question to Airtable.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    url: String,
    body: Vec<u8>,
}

impl Ask {
    /// A question to the API; path and query as they are sent.
    pub(crate) fn new(method: &str, path_and_query: &str, body: Vec<u8>) -> Self {
        Self { method: method.to_owned(), url: format!("{API}{path_and_query}"), body }
    }

    /// The same to where files are uploaded to.
    pub(crate) fn upload(method: &str, path_and_query: &str, body: Vec<u8>) -> Self {
        Self { method: method.to_owned(), url: format!("{CONTENT}{path_and_query}"), body }
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// For as long as the caller's deadline allows: the host may let it wait for its turn.
    fn send(&self, scope: &str) -> Result<Answer> {
        let mut call = http::request(&self.method, &*self.url)
            .header("accept", "application/json")
            .secret_scope(scope);
        if !self.body.is_empty() {
            call = call.header("content-type", "application/json").body(&*self.body);
        }
        let answer = call.send().map_err(unanswered)?;
        let (status, content_type) = (answer.status(), answer.header("content-type"));
        let retry_after = answer.header("retry-after");
        let body = answer.bytes().map_err(unanswered)?;
        Ok(Answer { status, content_type, retry_after, body })
    }
}

/// What it means to a client that there is no answer.
fn unanswered(error: Error) -> Error {
    let code = error.code().to_owned();
    match code.as_str() {
        "call.paced" => Error::too_many_requests(
            "Airtable's limit for this base is used up",
            error.retry_after().unwrap_or(1000),
        ),
        "deadline.exceeded" => Error::new(504, code, "Airtable has not answered in time"),
        "cancelled.caller" => error,
        _ if code.starts_with("call.") || code.starts_with("secrets.") => {
            sdk::warn!(code = code, "Airtable was not reached: {}", error.detail());
            let made = Error::unavailable("Airtable cannot be reached now").code_is(code);
            made.retry_after_ms(error.retry_after().unwrap_or(1000))
        }
        "body.truncated" => Error::unavailable("Airtable has broken off its answer").code_is(code),
        _ => error,
    }
}

/// Asks with a connection's token. A question that Airtable refuses for its limits was not looked
/// at, so it is asked once more, if `patient` and the pause fits into the deadline.
pub(crate) fn ask(connection: &Connection, ask: &Ask, patient: bool) -> Result<Answer> {
    let scope = connection.id.to_string();
    let mut answer = ask.send(&scope)?;
    if answer.status == 429 && patient {
        match ask.send(&scope) {
            Err(error) if error.status() == 429 => {}
            other => answer = other?,
        }
    }
    let refused = answer.status == 401;
    if refused != connection.refused && (refused || answer.is_success()) {
        store::set_refused(connection.id, refused)?;
    }
    if refused {
        sdk::warn!(connection = connection.id, "Airtable does not accept the connection's token");
        return Err(Error::forbidden("Airtable refuses the connection's token; give it a new one")
            .code_is("connection.refused"));
    }
    Ok(answer)
}

/// What is learnt of a base when it is connected.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) name: Option<String>,
    pub(crate) permission_level: Option<String>,
}

#[derive(Deserialize)]
struct Bases {
    bases: Vec<Base>,
    offset: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Base {
    id: String,
    name: String,
    permission_level: Option<String>,
}

/// Pages of the list of a token's bases that are looked through, a thousand bases each.
const PAGES: usize = 5;

/// Whether the token in the vault under this scope gives access to a base.
pub(crate) fn verify(scope: &str, base: &str) -> Result<Known> {
    let tables = Ask::new("GET", &format!("/v0/meta/bases/{base}/tables"), Vec::new());
    let answer = tables.send(scope)?;
    match answer.status {
        200 => {}
        401 => return Err(Error::violation("/token", "is not accepted by Airtable")),
        403 | 404 => {
            return Err(Error::violation(
                "/base_id",
                "is not a base that the token may read the schema of",
            ));
        }
        429 => return Err(Error::too_many_requests("Airtable's limit is used up", 30_000)),
        status => {
            return Err(Error::unavailable(format!("Airtable answered {status}")));
        }
    }
    let mut offset: Option<String> = None;
    for _ in 0..PAGES {
        let query = offset.map(|offset| format!("?offset={}", percent_encode(&offset)));
        let path = format!("/v0/meta/bases{}", query.unwrap_or_default());
        let answer = Ask::new("GET", &path, Vec::new()).send(scope)?;
        // The base was reached; its name is a convenience.
        let Ok(page) = serde_json::from_slice::<Bases>(&answer.body) else { break };
        if let Some(found) = page.bases.into_iter().find(|one| one.id == base) {
            let Base { name, permission_level, .. } = found;
            return Ok(Known { name: Some(name), permission_level });
        }
        offset = page.offset;
        if offset.is_none() {
            break;
        }
    }
    Ok(Known::default())
}
