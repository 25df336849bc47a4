//! Answers with what it was asked, as JSON.

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
    context::{call, configuration},
    service::http::{BodyIn, Reply, Request, Responder},
    types::{errors::{Error, ErrorClass}, http::Response},
};

struct Echo;

impl Guest for Echo {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let path = request.path();
        if let Some(status) = path.strip_prefix("/status/").and_then(|status| status.parse().ok()) {
            return Ok(whole(status, String::new()));
        }
        if path == "/error" {
            return Err(Error {
                class: ErrorClass::Conflict,
                code: "echo.conflict".into(),
                message: "asked for it".into(),
                retry_after_ms: Some(1500),
                attrs: vec![],
            });
        }
        if path == "/panic" {
            panic!("asked for it");
        }
        if path == "/print" {
            println!("a line of stdout");
            eprint!("a line of stderr without its end");
            return Ok(whole(200, String::new()));
        }
        if path == "/wasi" {
            let vars = std::env::vars().count();
            let args = std::env::args().count();
            let files = std::fs::read_dir("/").is_ok();
            let connect = std::net::TcpStream::connect(("127.0.0.1", 80)).is_ok();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let map = std::collections::HashMap::from([(1, 2)]);
            return Ok(whole(
                200,
                format!(r#"{{"vars":{vars},"args":{args},"files":{files},"connect":{connect},"now":{now},"map":{}}}"#, map[&1]),
            ));
        }
        let body = match request.body() {
            BodyIn::None => Vec::new(),
            BodyIn::Bytes(bytes) => bytes,
            BodyIn::Chunks(reader) => {
                let mut all = Vec::new();
                loop {
                    let piece = reader.read(65_536)?;
                    if piece.is_empty() {
                        break all;
                    }
                    all.extend_from_slice(&piece);
                }
            }
        };
        let tenant = call::tenant().unwrap_or_default();
        let mode = configuration::get("mode").unwrap_or_default();
        let json = format!(
            r#"{{"method":{:?},"path":{path:?},"query":{:?},"x":{:?},"service":{:?},"revision":{:?},"tenant":{tenant:?},"mode":{mode:?},"body":{:?}}}"#,
            request.method(),
            request.query().unwrap_or_default(),
            request.header("x-test").unwrap_or_default(),
            call::service(),
            call::revision(),
            String::from_utf8_lossy(&body),
        );
        Ok(whole(200, json))
    }
}

fn whole(status: u16, body: String) -> Reply {
    Reply::Whole(Response {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.into_bytes(),
    })
}

export!(Echo);
