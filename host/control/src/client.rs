//! Talks to a running node's admin API.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use airhost_core::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};

/// How a node that runs on this machine is reached; kept in its state folder with mode 0600.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Where the admin API listens.
    pub address: SocketAddr,
    /// What it asks for.
    pub token: String,
}

impl Access {
    /// Where the access of the node with this state folder is kept.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join("admin.json")
    }

    /// Reads it.
    pub fn read(state: &Path) -> Result<Self, ClientError> {
        let path = Self::path(state);
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ClientError::NotRunning(state.to_owned()),
            _ => ClientError::Access { path: path.clone(), source },
        })?;
        serde_json::from_slice(&text).map_err(|error| ClientError::Access {
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
}

/// A call to the admin API did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no node.
    #[error("no node has its state in {}: start one with `airhost up`, or name its folder with --state", .0.display())]
    NotRunning(PathBuf),
    /// The file that says how the node is reached cannot be used.
    #[error("cannot read {}, which says how the node is reached", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The node does not answer.
    #[error("the node at {address} does not answer: start it with `airhost up`")]
    Unreachable {
        /// Where it should be.
        address: SocketAddr,
    },
    /// The connection broke.
    #[error("the connection to the node broke")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It said no.
    #[error("{message} ({code})")]
    Refused {
        /// The stable code.
        code: String,
        /// One sentence.
        message: String,
    },
    /// It answered what this version does not understand.
    #[error("the node's answer cannot be understood: is it another version?")]
    Answer(#[source] serde_json::Error),
}

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    access: Access,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl Client {
    const CONNECT: Duration = Duration::from_secs(2);
    const ANSWER: Duration = Duration::from_secs(30);

    /// A client with this access.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access }
    }

    /// Where the node is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.access.address
    }

    /// Asks for a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = async {
            let response = self.send(Method::GET, path, Bytes::new()).await?;
            let body = response.into_body().collect().await.map_err(connection)?.to_bytes();
            serde_json::from_slice(&body).map_err(ClientError::Answer)
        };
        timeout(Self::ANSWER, request)
            .await
            .unwrap_or(Err(ClientError::Unreachable { address: self.access.address }))
    }

    /// Asks for JSON lines and gives each to `line` as it arrives, until it answers false.
    pub async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        mut line: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        let mut incoming = self.send(method, path, body).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(connection)?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let one: Vec<u8> = rest.drain(..=end).collect();
                if !line(&one[..end]) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let address = self.access.address;
        let unreachable = || ClientError::Unreachable { address };
        let stream = timeout(Self::CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| unreachable())?
            .map_err(|_| unreachable())?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(connection)?;
        tokio::spawn(driver);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.access.token))
            .body(Body::from(body))
            .map_err(connection)?;
        let response = sender.send_request(request).await.map_err(connection)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(connection)?.to_bytes();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Refused { code: problem.code, message: problem.detail },
            Err(_) => refused(status),
        })
    }
}

fn refused(status: StatusCode) -> ClientError {
    ClientError::Refused { code: "admin".into(), message: format!("the node answered {status}") }
}

fn connection(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Connection(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_node_is_not_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let absent = Access::read(folder.path()).unwrap_err();
        assert!(matches!(absent, ClientError::NotRunning(_)), "{absent}");
        std::fs::write(Access::path(folder.path()), "{").unwrap();
        let damaged = Access::read(folder.path()).unwrap_err();
        assert!(matches!(damaged, ClientError::Access { .. }), "{damaged}");
    }
}
