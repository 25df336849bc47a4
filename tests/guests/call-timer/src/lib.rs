//! Times calls from one component to another: `/time/<service>/<count>` asks the service so often,
//! 1 KiB each way, and answers the nanoseconds of each call, separated by spaces. Any other path
//! answers the body it was sent, so that the same component is asked and asks.

use std::time::Instant;

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
        http::{BodyOut, Outgoing, Reply, Request, Responder},
    },
    types::{errors::Error, http::Response},
};

const BODY: usize = 1024;

struct CallTimer;

impl Guest for CallTimer {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let path = request.path();
        let asked = path.strip_prefix("/time/").and_then(|rest| rest.split_once('/'));
        let body = match asked {
            Some((service, count)) => time(service, count.parse().unwrap_or(1))?.into_bytes(),
            None => request.read_body(1 << 20)?,
        };
        Ok(Reply::Whole(Response { status: 200, headers: vec![], body }))
    }
}

fn time(service: &str, count: usize) -> Result<String, Error> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let outgoing = Outgoing {
            method: "POST".into(),
            url: format!("http://{service}/"),
            headers: vec![],
            body: BodyOut::Bytes(vec![b'x'; BODY]),
            timeout_ms: None,
            attrs: vec![],
        };
        let begin = Instant::now();
        let answer = client::call(&outgoing)?;
        let body = answer.read_body(1 << 20)?;
        times.push(begin.elapsed().as_nanos());
        assert_eq!((answer.status(), body.len()), (200, BODY));
    }
    Ok(times.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

export!(CallTimer);
