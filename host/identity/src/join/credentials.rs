use std::{
    fmt,
    path::{Path, PathBuf},
};

use airhost_core::TrustDomain;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    at_rest::{AtRestKey, FileError, Kind},
    bundle::{TrustBundle, pem},
    svid::{Svid, SvidRequest},
};

/// The file's name in its folder.
const NAME: &str = "node";
const KIND: Kind =
    Kind { magic: "airhost-node 1", otherwise: "if it is removed, this node has to join again" };

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    trust_domain: TrustDomain,
    chain: String,
    key: String,
    bundle: String,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// What a node that has joined goes on with after a restart.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its own certificate, which may have run out meanwhile: then it has to join again.
    pub node: Svid,
    /// What it trusted last.
    pub bundle: TrustBundle,
}

/// The file with the certificate and key of a node that has joined; encrypted if a key is given.
#[derive(Clone)]
pub struct CredentialsFile {
    path: PathBuf,
    at_rest: Option<AtRestKey>,
}

impl CredentialsFile {
    /// In this folder, which is there.
    #[must_use]
    pub fn new(folder: &Path, at_rest: Option<AtRestKey>) -> Self {
        Self { path: folder.join(NAME), at_rest }
    }

    /// Reads the file; none if there is none.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(&self, trust_domain: &TrustDomain) -> Result<Option<Credentials>, FileError> {
        let Some(opened) = KIND.read(&self.path, self.at_rest.as_ref())? else { return Ok(None) };
        if opened.plain && self.at_rest.is_some() {
            KIND.write(&self.path, self.at_rest.as_ref(), &opened.content)?;
        }
        let damaged = |what| KIND.damaged(&self.path, what);
        let document: Document = serde_json::from_slice(&opened.content)
            .map_err(|_| damaged("its content is not that of a node"))?;
        if document.trust_domain != *trust_domain {
            return Err(FileError::TrustDomain {
                path: self.path.clone(),
                found: document.trust_domain.to_string(),
                configured: trust_domain.to_string(),
            });
        }
        let node = Svid::from_pem(document.chain.as_bytes(), document.key.as_bytes())
            .map_err(|_| damaged("its certificate and key do not fit together"))?;
        let bundle = TrustBundle::from_json(trust_domain.clone(), &document.bundle)
            .map_err(|_| damaged("its trust bundle is not one"))?;
        Ok(Some(Credentials { node, bundle }))
    }

    pub(crate) fn save(
        &self,
        request: &SvidRequest,
        chain: &[CertificateDer<'_>],
        bundle: &TrustBundle,
    ) -> Result<(), FileError> {
        let document = Document {
            trust_domain: bundle.trust_domain().clone(),
            chain: chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect(),
            key: pem("PRIVATE KEY", request.key().pkcs8()),
            bundle: bundle.to_json(),
        };
        let content = serde_json::to_vec_pretty(&document).map(Zeroizing::new);
        let content = content
            .map_err(|error| FileError::Io { path: self.path.clone(), source: error.into() })?;
        KIND.write(&self.path, self.at_rest.as_ref(), &content)
    }
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CredentialsFile").field(&self.path).finish()
    }
}
