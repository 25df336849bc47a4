//! Reads a small JSON body and answers a smaller one: what the benchmarks measure a request with.

mod order;

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
    service::http::{Reply, Request, Responder},
    types::{errors::Error, http::Response},
};

struct EchoJson;

impl Guest for EchoJson {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let (status, body) = match order::answer(&request.read_body(1 << 20)?) {
            Ok(body) => (200, body),
            Err(error) => (400, error.to_string().into_bytes()),
        };
        let headers = vec![("content-type".into(), "application/json".into())];
        Ok(Reply::Whole(Response { status, headers, body }))
    }
}

export!(EchoJson);
