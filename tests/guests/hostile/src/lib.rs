//! Misbehaves, by path.

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    world: "pyairtable:service/http-service",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use std::hint::black_box;

use exports::pyairtable::service::handler::Guest;
use pyairtable::{
    context::log,
    service::http::{Reply, Request, Responder},
    types::{errors::Error, http::Response},
};

struct Hostile;

impl Guest for Hostile {
    fn handle(request: Request, responder: Responder) -> Result<Reply, Error> {
        match request.path().as_str() {
            "/trap" => core::arch::wasm32::unreachable(),
            "/loop" => loop {
                black_box(());
            },
            "/memory" => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 1 << 20]);
                    black_box(&all);
                }
            }
            "/stack" => Ok(whole(200, recurse(1).to_le_bytes().to_vec())),
            "/no-response" => Ok(Reply::Streamed),
            "/headers" => Ok(Reply::Whole(Response {
                status: 200,
                headers: (0..2_000).map(|n| (format!("x-{n}"), "y".repeat(100))).collect(),
                body: vec![],
            })),
            "/bad-header" => Ok(Reply::Whole(Response {
                status: 200,
                headers: vec![("x-split".into(), "a\r\nset-cookie: b".into())],
                body: vec![],
            })),
            "/status" => Ok(whole_status(99)),
            "/endless" => {
                let writer = responder.start(200, &[])?;
                let piece = vec![b'x'; 64 * 1024];
                loop {
                    writer.write(&piece)?;
                }
            }
            "/unfinished" => {
                let writer = responder.start(200, &[])?;
                writer.write(b"half")?;
                drop(writer);
                Ok(Reply::Streamed)
            }
            "/trap-in-stream" => {
                let writer = responder.start(200, &[])?;
                for _ in 0..8 {
                    writer.write(b"half")?;
                }
                core::arch::wasm32::unreachable()
            }
            "/log" => {
                for line in 0..100_000 {
                    log::write(log::Level::Info, &format!("line {line}"), &[]);
                }
                println!("{}", "z".repeat(1 << 20));
                Ok(whole(200, vec![]))
            }
            "/huge" => Ok(whole(200, vec![b'h'; 9 << 20])),
            "/exit" => std::process::exit(3),
            "/sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(30));
                Ok(whole(200, vec![]))
            }
            "/spin" => {
                let millis: u64 = request.query().and_then(|query| query.parse().ok()).unwrap_or(10);
                let start = std::time::Instant::now();
                while start.elapsed() < std::time::Duration::from_millis(millis) {
                    black_box(());
                }
                Ok(whole(200, b"spun".to_vec()))
            }
            _ => Ok(whole(200, b"fine".to_vec())),
        }
    }
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let page = [n; 64];
    black_box(&page);
    if black_box(n) == 0 { 0 } else { recurse(n + 1) + black_box(page[3]) }
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    Reply::Whole(Response { status, headers: vec![], body })
}

fn whole_status(status: u16) -> Reply {
    whole(status, vec![])
}

export!(Hostile);
