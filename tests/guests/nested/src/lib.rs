//! Calls the services that its path names, one after the other: `/a/b` calls `http://a/b`. With
//! `/spin-5` before it all, it computes for that many milliseconds first.

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    world: "pyairtable:service/http-service",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use std::time::{Duration, Instant};

use exports::pyairtable::service::handler::Guest;
use pyairtable::{
    context::call,
    service::{
        client,
        http::{BodyOut, Outgoing, Reply, Request, Responder},
    },
    types::{errors::Error, http::Response},
};

struct Nested;

impl Guest for Nested {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let path = request.path();
        let mut path = path.trim_start_matches('/');
        if let Some((millis, rest)) =
            path.strip_prefix("spin-").and_then(|path| path.split_once('/'))
        {
            spin(Duration::from_millis(millis.parse().unwrap_or(1)));
            path = rest;
        }
        if path.is_empty() {
            return Ok(whole(200, call::caller().unwrap_or_else(|| "nobody".into()).into_bytes()));
        }
        if let Some(count) = path.strip_prefix("fan-out-") {
            return fan_out(count.parse().unwrap_or(1));
        }
        let (service, rest) = path.split_once('/').unwrap_or((path, ""));
        let answer = client::call(&outgoing(format!("http://{service}/{rest}"), request.query()))?;
        let body = answer.read_body(1 << 20)?;
        Ok(whole(answer.status(), body))
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::black_box(());
    }
}

/// Starts so many calls at once and counts the answers.
fn fan_out(count: usize) -> Result<Reply, Error> {
    let mut calls = Vec::new();
    for _ in 0..count {
        calls.push(client::start(&outgoing("http://leaf/".into(), None))?);
    }
    let mut answered = 0;
    while !calls.is_empty() {
        let mut ready = client::wait_any(&calls.iter().collect::<Vec<_>>(), 5_000);
        if ready.is_empty() {
            break;
        }
        ready.sort_unstable();
        for index in ready.into_iter().rev() {
            let call = calls.swap_remove(index as usize);
            if matches!(call.take(), Some(Ok(answer)) if answer.status() == 200) {
                answered += 1;
            }
        }
    }
    Ok(whole(200, answered.to_string().into_bytes()))
}

fn outgoing(url: String, timeout: Option<String>) -> Outgoing {
    Outgoing {
        method: "GET".into(),
        url,
        headers: vec![],
        body: BodyOut::None,
        timeout_ms: timeout.and_then(|timeout| timeout.parse().ok()),
        attrs: vec![],
    }
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    Reply::Whole(Response { status, headers: vec![], body })
}

export!(Nested);
