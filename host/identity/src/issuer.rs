//! Where certificates come from.
//!
//! An [`Issuer`] answers a certificate with its key, and what is to be trusted. [`Signing`] makes
//! the key here and has a [`Signer`] sign a request for it: the node's own [`Authority`], or that
//! of another node. [`Files`] takes what something else writes into a folder: cert-manager's CSI
//! driver, a mounted secret.

mod files;

use std::{fmt, time::Duration};

use airhost_core::{Error, SpiffeId, codes};
use async_trait::async_trait;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::{
    authority::Authority,
    bundle::{BundleError, TrustBundle},
    join::CredentialsFile,
    svid::{Svid, SvidError, SvidRequest},
};
pub use files::{Files, FilesConfig};

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The signing request cannot be signed.
    #[error("the signing request is refused: {0}")]
    Request(&'static str),
    /// The identity is not to be had here.
    #[error("{0}")]
    Refused(String),
    /// The issuer does not answer or cannot sign now.
    #[error("{0}")]
    Unavailable(String),
    /// What the issuer answered is not right.
    #[error("the certificate is refused: {0}")]
    Certificate(#[from] SvidError),
    /// The issuer's trust bundle is not right.
    #[error("the trust bundle is refused: {0}")]
    Bundle(#[from] BundleError),
    /// It took too long.
    #[error("the issuer did not answer within {0:?}")]
    Timeout(Duration),
}

impl IssueError {
    /// As it crosses to another node.
    #[must_use]
    pub fn to_core(&self) -> Error {
        match self {
            Self::Request(_) => codes::IDENTITY_REQUEST.error(self.to_string()),
            Self::Refused(_) => codes::IDENTITY_DENIED.error(self.to_string()),
            _ => codes::IDENTITY_AUTHORITY.error(self.to_string()),
        }
    }
}

/// How it is noticed that there is a new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The issuer makes one when it is asked: at half of a certificate's life.
    HalfLife,
    /// Somebody else renews, and the issuer is asked so often what there is.
    Watch(Duration),
}

/// What an issuer answers.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate and its key.
    pub svid: Svid,
    /// What is to be trusted.
    pub bundle: TrustBundle,
}

/// Where the certificates of this node's services come from.
#[async_trait]
pub trait Issuer: fmt::Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// How it is noticed that there is a new certificate.
    fn renewal(&self) -> Renewal {
        Renewal::HalfLife
    }

    /// A certificate of this identity. The caller bounds the time.
    async fn issue(&self, id: &SpiffeId) -> Result<Issued, IssueError>;

    /// What is to be trusted now; none if that is known with a certificate only. It is asked for
    /// every few minutes.
    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError>;

    /// Nobody needs certificates of this identity any more.
    fn forget(&self, _id: &SpiffeId) {}
}

/// What a signer answers.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The leaf and its intermediates, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// What is to be trusted.
    pub bundle: TrustBundle,
}

/// Who signs requests.
#[async_trait]
pub trait Signer: fmt::Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// Signs a PKCS #10 request for an identity.
    async fn sign(
        &self,
        csr: CertificateSigningRequestDer<'static>,
        id: &SpiffeId,
    ) -> Result<Signed, IssueError>;

    /// What is to be trusted now; none if that is known with a certificate only.
    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError>;
}

#[async_trait]
impl Signer for Authority {
    fn name(&self) -> &str {
        "own authority"
    }

    async fn sign(
        &self,
        csr: CertificateSigningRequestDer<'static>,
        id: &SpiffeId,
    ) -> Result<Signed, IssueError> {
        let (authority, id) = (self.clone(), id.clone());
        blocking(move || {
            let chain = authority.sign(&csr, &id, authority.leaf_ttl())?;
            Ok(Signed { chain, bundle: authority.bundle()? })
        })
        .await
    }

    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError> {
        let authority = self.clone();
        blocking(move || {
            if let Err(error) = authority.maintain() {
                tracing::error!(%error, "the authority could not be maintained");
            }
            Authority::bundle(&authority).map(Some)
        })
        .await
    }
}

/// Runs what may write files away from the serving threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IssueError> + Send + 'static,
) -> Result<T, IssueError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(IssueError::Unavailable("the issuer failed".to_owned())))
}

/// Makes keys here and has requests for them signed.
#[derive(Debug)]
pub struct Signing<S> {
    signer: S,
    kept: Option<(SpiffeId, CredentialsFile)>,
}

impl<S: Signer> Signing<S> {
    /// With this signer.
    #[must_use]
    pub fn new(signer: S) -> Self {
        Self { signer, kept: None }
    }

    /// Writes every new certificate of the node itself to a file, with its key: what a node that
    /// has joined needs to renew after a restart.
    #[must_use]
    pub fn keeping(mut self, node: SpiffeId, file: CredentialsFile) -> Self {
        self.kept = Some((node, file));
        self
    }
}

#[async_trait]
impl<S: Signer> Issuer for Signing<S> {
    fn name(&self) -> &str {
        self.signer.name()
    }

    async fn issue(&self, id: &SpiffeId) -> Result<Issued, IssueError> {
        let request = SvidRequest::new(id.clone())
            .map_err(|error| IssueError::Unavailable(error.to_string()))?;
        let Signed { chain, bundle } = self.signer.sign(request.csr().clone(), id).await?;
        let svid = request.complete(chain)?;
        if let Some((node, file)) = &self.kept
            && node == id
        {
            let (file, chain, bundle) = (file.clone(), svid.chain().to_vec(), bundle.clone());
            let saved = tokio::task::spawn_blocking(move || file.save(&request, &chain, &bundle));
            if let Ok(Err(error)) = saved.await {
                // The node goes on with it; it has to join again if it is restarted after the
                // certificate in the file has run out.
                tracing::error!(%error, "the node's own certificate cannot be kept");
            }
        }
        Ok(Issued { svid, bundle })
    }

    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError> {
        self.signer.bundle().await
    }
}

#[cfg(test)]
mod tests;
