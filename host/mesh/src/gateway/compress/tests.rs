use std::io::Read;

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};

use super::*;

fn accept(value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", HeaderValue::from_static(value));
    headers
}

#[test]
fn the_client_chooses() {
    for (field, coding) in [
        ("", None),
        ("identity", None),
        ("gzip", Some(Coding::Gzip)),
        ("GZIP;q=0.5, br;q=0.4", Some(Coding::Gzip)),
        ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
        ("gzip, br", Some(Coding::Brotli)),
        ("*", Some(Coding::Zstd)),
        ("*;q=0", None),
        ("zstd;q=0, *", Some(Coding::Brotli)),
        ("gzip;q=nonsense", None),
    ] {
        assert_eq!(Coding::negotiate(&accept(field)), coding, "{field}");
    }
    assert_eq!(Coding::negotiate(&HeaderMap::new()), None);
}

fn decompress(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        other => panic!("{other}"),
    };
    plain
}

fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response.headers_mut().insert("etag", HeaderValue::from_static("\"v1\""));
    response
}

#[tokio::test]
async fn what_is_compressed_comes_out_again() {
    let text = "{\"name\": \"value\"}, ".repeat(20_000);
    for coding in Coding::ALL {
        for size in [2000, text.len()] {
            let plain = &text[..size];
            let whole = json(Body::from(plain.to_owned()));
            let pieces: Vec<_> = plain
                .as_bytes()
                .chunks(7001)
                .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
                .collect();
            let streamed = json(Body::stream(StreamBody::new(stream::iter(pieces))));
            for response in [whole, streamed] {
                let response = compress(response, Some(coding));
                assert_eq!(response.headers()["content-encoding"], coding.name());
                assert_eq!(response.headers()["etag"], "W/\"v1\"");
                assert_eq!(response.headers()["vary"], "accept-encoding");
                let bytes = response.into_body().collect(1 << 20).await.unwrap();
                assert!(bytes.len() < size / 4, "{coding:?} {size} -> {}", bytes.len());
                assert_eq!(decompress(coding.name(), &bytes), plain.as_bytes());
            }
        }
    }
}

#[tokio::test]
async fn a_pause_of_the_producer_flushes() {
    for coding in Coding::ALL {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BodyError>>(1);
        let pieces = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|item| (item, receiver))
        });
        let mut body =
            compress(json(Body::stream(StreamBody::new(pieces.boxed()))), Some(coding)).into_body();
        sender.send(Ok(Frame::data(Bytes::from_static(b"first line\n")))).await.unwrap();
        let mut bytes = Vec::new();
        // The producer is still there, and its line is out nevertheless.
        while !contains_plain(coding, &bytes, b"first line\n") {
            let frame = tokio::time::timeout(std::time::Duration::from_secs(5), body.frame())
                .await
                .unwrap();
            bytes.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
        }
        drop(sender);
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(decompress(coding.name(), &bytes), b"first line\n");
    }
}

/// Whether an unfinished stream already gives the text.
fn contains_plain(coding: Coding, bytes: &[u8], text: &[u8]) -> bool {
    let mut plain = vec![0; text.len()];
    let read = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_exact(&mut plain),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_exact(&mut plain),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
            .and_then(|mut decoder| decoder.read_exact(&mut plain)),
    };
    read.is_ok() && plain == text
}

#[test]
fn what_must_not_be_touched_is_not() {
    let large = || Body::from("x".repeat(5000));
    let with = |name: &'static str, value: &'static str| {
        let mut response = json(large());
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    };
    let mut partial = json(large());
    *partial.status_mut() = StatusCode::PARTIAL_CONTENT;
    for response in [
        with("content-type", "text/event-stream; charset=utf-8"),
        with("content-type", "image/png"),
        with("content-encoding", "gzip"),
        with("cache-control", "private, No-Transform"),
        with("content-range", "bytes 0-1/2"),
        json(Body::from("small")),
        partial,
    ] {
        let coded =
            compress(response, Some(Coding::Gzip)).headers().get("content-encoding").cloned();
        assert!(coded.is_none_or(|coding| coding == "gzip"));
    }
    let sse = compress(with("content-type", "text/event-stream"), Some(Coding::Gzip));
    assert!(!sse.headers().contains_key("content-encoding"));
    let plain = compress(json(large()), None);
    assert_eq!(plain.headers()["vary"], "accept-encoding");
    assert!(!plain.headers().contains_key("content-encoding"));
}
