//! Takes the bearer token of a request for the call's principal, and answers who that is: what
//! every authenticated request begins with.

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    world: "pyairtable:service/http-service",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use exports::pyairtable::service::handler::Guest;
use pyairtable::{
    context::call,
    service::http::{Reply, Request, Responder},
    types::{errors::Error, http::Response},
};

struct Token;

impl Guest for Token {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let header = request.header("authorization").unwrap_or_default();
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        let principal = call::assume(token)?;
        let body =
            format!(r#"{{"subject":{:?},"tenant":{:?}}}"#, principal.subject, principal.tenant);
        let headers = vec![("content-type".into(), "application/json".into())];
        Ok(Reply::Whole(Response { status: 200, headers, body: body.into_bytes() }))
    }
}

export!(Token);
