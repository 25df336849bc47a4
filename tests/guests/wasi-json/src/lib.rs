//! The same as `echo-json` on plain `wasi:http` 0.2: what other hosts run too.

#[path = "../../echo-json/src/order.rs"]
mod order;

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

struct WasiJson;

impl Guest for WasiJson {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (status, text) = match order::answer(&read(&request)) {
            Ok(text) => (200, text),
            Err(error) => (400, error.to_string().into_bytes()),
        };
        let fields = Fields::from_list(&[("content-type".into(), b"application/json".to_vec())]);
        let response = OutgoingResponse::new(fields.expect("fields"));
        response.set_status_code(status).expect("a status");
        let body = response.body().expect("a body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a stream");
        stream.blocking_write_and_flush(&text).expect("a write");
        drop(stream);
        OutgoingBody::finish(body, None).expect("an end");
    }
}

fn read(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("a body");
    let stream = body.stream().expect("a stream");
    let mut all = Vec::new();
    while let Ok(piece) = stream.blocking_read(65_536) {
        all.extend_from_slice(&piece);
    }
    all
}

wasip2::http::proxy::export!(WasiJson);
