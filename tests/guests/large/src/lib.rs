//! The same as `echo-json` in a component of the size that services with many dependencies have:
//! `large` is about 2 MB and `medium` 1 MB, most of it code that the build script makes.

#[path = "../../echo-json/src/order.rs"]
mod order;

mod bulk {
    include!(concat!(env!("OUT_DIR"), "/bulk.rs"));
}

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

struct Large;

impl Guest for Large {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let body = request.read_body(1 << 20)?;
        // One of the many functions, chosen by what came, so that none can be left out.
        let chosen = body
            .iter()
            .fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let check = bulk::FUNCTIONS[chosen % bulk::FUNCTIONS.len()](chosen as u64, bulk::DATA);
        let (status, body) = match order::answer(&body) {
            Ok(body) => (200, body),
            Err(error) => (400, error.to_string().into_bytes()),
        };
        let headers = vec![
            ("content-type".into(), "application/json".into()),
            ("x-check".into(), check.to_string()),
        ];
        Ok(Reply::Whole(Response { status, headers, body }))
    }
}

export!(Large);
