//! A plain client, for what is asked outside of measurements.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP/1.1 client with kept connections.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body)))?;
        let exchange = async {
            let response = self.0.request(request).await?;
            let status = response.status();
            Ok::<_, anyhow::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("{url} takes too long"))?
            .with_context(|| format!("{url} does not answer"))
    }

    /// The body of an answer that has to be a good one.
    pub(crate) async fn good(
        &self,
        method: Method,
        url: &str,
        body: &[u8],
        authorization: Option<&str>,
    ) -> Result<Bytes> {
        let (status, answer) = self.send(method, url, body, authorization).await?;
        if status != StatusCode::OK {
            bail!("{url} answers {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }
}
