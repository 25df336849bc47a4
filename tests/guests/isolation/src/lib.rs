//! Leaves marks wherever it can (`/write`), and looks for marks of others (`/read`).

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    world: "pyairtable:service/http-service",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use core::arch::wasm32::{memory_grow, memory_size};

use exports::pyairtable::service::handler::Guest;
use pyairtable::{
    service::http::{Reply, Request, Responder},
    types::{errors::Error, http::Response},
};

const PAGE: usize = 65_536;
/// Words of a mark that stand side by side; less may be a register that was spilled.
const RUN: usize = 8;

struct Isolation;

impl Guest for Isolation {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let mark = mark(&request.query().unwrap_or_default());
        let body = match request.path().as_str() {
            "/write" => {
                write(mark);
                "written".to_owned()
            }
            "/read" => {
                let found = find(mark, 0, memory_size::<0>() * PAGE);
                let before = memory_grow::<0>(8) * PAGE;
                let dirty = dirty(before, before + 8 * PAGE);
                format!("{found} {dirty}")
            }
            _ => String::new(),
        };
        Ok(Reply::Whole(Response { status: 200, headers: vec![], body: body.into_bytes() }))
    }
}

/// A word that stands nowhere unless it was made from the same text.
fn mark(text: &str) -> u64 {
    let mut word = 0x9e37_79b9_7f4a_7c15u64;
    for byte in text.bytes() {
        word = (word ^ u64::from(byte)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
    }
    word | 1
}

fn write(mark: u64) {
    // The heap.
    let heap = vec![mark; 40_000];
    core::mem::forget(heap);
    // Grown memory: a stretch of it whole, and every other 4 KiB of the rest, which makes more
    // stretches of changed pages than one scan reports.
    let start = memory_grow::<0>(24) * PAGE;
    fill(mark, start, start + 4 * PAGE);
    let mut at = start + 4 * PAGE;
    while at < start + 24 * PAGE {
        fill(mark, at, at + 256);
        at += 8_192;
    }
}

fn fill(mark: u64, from: usize, to: usize) {
    for at in (from..to).step_by(8) {
        // SAFETY: the memory was grown to hold it and belongs to nobody else.
        unsafe { core::ptr::write_volatile(at as *mut u64, mark) };
    }
}

fn find(mark: u64, from: usize, to: usize) -> usize {
    let (mut found, mut run) = (0, 0);
    for at in (from + 8..to).step_by(8) {
        // SAFETY: within the memory; what it means does not matter.
        let word = unsafe { core::ptr::read_volatile(at as *const u64) };
        run = if word == mark { run + 1 } else { 0 };
        if run == RUN {
            found += 1;
        }
    }
    found
}

fn dirty(from: usize, to: usize) -> usize {
    (from..to)
        .step_by(8)
        // SAFETY: the memory was grown to hold it.
        .filter(|at| unsafe { core::ptr::read_volatile(*at as *const u64) } != 0)
        .count()
}

export!(Isolation);
