//! Passes a body through, piece by piece, and keeps none of it.

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
    service::{
        client,
        http::{BodyIn, BodyOut, Outgoing, ProxyReply, Reply, Request, Responder},
    },
    types::{errors::Error, http::Response},
};

struct Stream;

impl Guest for Stream {
    fn handle(request: Request, responder: Responder) -> Result<Reply, Error> {
        match request.path().as_str() {
            "/through" => {
                let BodyIn::Chunks(reader) = request.body() else {
                    return Ok(Reply::Whole(Response { status: 400, headers: vec![], body: b"not in pieces".to_vec() }));
                };
                let writer = responder.start(200, &[("x-kind".into(), "through".into())])?;
                loop {
                    let piece = reader.read(1 << 20)?;
                    if piece.is_empty() {
                        break;
                    }
                    writer.write(&piece)?;
                }
                writer.finish(&[("x-end".into(), "yes".into())])?;
                Ok(Reply::Streamed)
            }
            "/small" => {
                let writer = responder.start(201, &[])?;
                writer.write(b"small")?;
                writer.finish(&[])?;
                Ok(Reply::Streamed)
            }
            "/upload" => {
                let (writer, pending) = client::start_streaming(&outgoing("PUT", BodyOut::None))?;
                for _ in 0..100 {
                    writer.write(&vec![b'u'; 10_000])?;
                }
                writer.finish(&[])?;
                client::wait_any(&[&pending], 5_000);
                let answer = pending.take().expect("an answer")?;
                let body = answer.read_body(1 << 20)?;
                Ok(Reply::Whole(Response { status: answer.status(), headers: vec![], body }))
            }
            "/proxy" => Ok(Reply::Proxy(ProxyReply {
                target: outgoing(&request.method(), BodyOut::RequestBody),
                response_headers: vec![("x-proxied".into(), "yes".into())],
            })),
            _ => Ok(Reply::Whole(Response { status: 404, headers: vec![], body: vec![] })),
        }
    }
}

fn outgoing(method: &str, body: BodyOut) -> Outgoing {
    Outgoing {
        method: method.into(),
        url: "http://target-service/there?q=1".into(),
        headers: vec![("x-sent".into(), "1".into())],
        body,
        timeout_ms: None,
        attrs: vec![],
    }
}

export!(Stream);
