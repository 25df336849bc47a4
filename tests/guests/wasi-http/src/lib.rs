//! A plain `wasi:http` 0.2 component that knows nothing of the platform: answers with what it was
//! asked, and passes on what is asked for under `/fetch`.

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::{
        outgoing_handler,
        types::{
            Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
        },
    },
};

struct Plain;

impl Guest for Plain {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        if path == "/trap" {
            panic!("asked for it");
        }
        if path == "/nothing" {
            return;
        }
        let (status, text) = match path.strip_prefix("/fetch") {
            Some(rest) => fetch(rest),
            None => {
                let body = request.consume().expect("a body");
                let stream = body.stream().expect("a stream");
                let mut all = Vec::new();
                while let Ok(piece) = stream.blocking_read(65_536) {
                    all.extend_from_slice(&piece);
                }
                let kind = request.headers().get("x-test").first().cloned().unwrap_or_default();
                (200, format!("{path} {} {}", String::from_utf8_lossy(&kind), String::from_utf8_lossy(&all)))
            }
        };
        let response = OutgoingResponse::new(Fields::from_list(&[("x-plain".into(), b"yes".to_vec())]).expect("fields"));
        response.set_status_code(status).expect("a status");
        let body = response.body().expect("a body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a stream");
        for piece in text.as_bytes().chunks(4_096) {
            stream.blocking_write_and_flush(piece).expect("a write");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("an end");
    }
}

fn fetch(path: &str) -> (u16, String) {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).expect("a method");
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some("target-service")).expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    let future = match outgoing_handler::handle(request, None) {
        Ok(future) => future,
        Err(error) => return (502, format!("{error:?}")),
    };
    future.subscribe().block();
    let response = match future.get().expect("ready").expect("once") {
        Ok(response) => response,
        Err(error) => return (502, format!("{error:?}")),
    };
    let status = response.status();
    let body = response.consume().expect("a body");
    let stream = body.stream().expect("a stream");
    let mut all = Vec::new();
    while let Ok(piece) = stream.blocking_read(65_536) {
        all.extend_from_slice(&piece);
    }
    (status, String::from_utf8_lossy(&all).into_owned())
}

wasip2::http::proxy::export!(Plain);
