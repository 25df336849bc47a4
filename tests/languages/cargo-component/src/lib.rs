//! Greets, as a component of `cargo component`.

#[allow(warnings)]
mod bindings;

use bindings::{
    exports::pyairtable::service::handler::{Error, Guest, Reply, Request, Responder},
    pyairtable::{context::configuration, types::http::Response},
};

struct Component;

impl Guest for Component {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let query = request.query().unwrap_or_default();
        let name = query.strip_prefix("name=").map_or_else(|| "world".to_owned(), decode);
        let greeting = configuration::get("greeting").unwrap_or_default();
        let greeting = greeting.trim_matches('"');
        Ok(Reply::Whole(Response {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: format!("{{\"message\": \"{greeting}, {name}!\"}}").into_bytes(),
        }))
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits: Vec<u8> = if byte == b'%' { rest.by_ref().take(2).collect() } else { Vec::new() };
        let digits = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

bindings::export!(Component with_types_in bindings);
