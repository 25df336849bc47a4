//! Certificates that something else writes into files.

use std::{
    collections::HashMap,
    fs, io,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_core::{SpiffeId, TrustDomain};
use async_trait::async_trait;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{IssueError, Issued, Issuer, Renewal, blocking};
use crate::{
    bundle::TrustBundle,
    svid::{Svid, SvidError},
};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where the files are. In each path `{service}` stands for the service's (or node's) name and
/// `{namespace}` for its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesConfig {
    /// The certificate chain, PEM, the leaf first.
    pub chain: String,
    /// The private key, PEM (PKCS #8, SEC 1 or PKCS #1).
    pub key: String,
    /// The roots, PEM.
    pub bundle: String,
    /// How often the files are looked at; 10 seconds unless set.
    pub every: Duration,
}

impl FilesConfig {
    /// `tls.crt`, `tls.key` and `ca.crt` (the names of a Kubernetes secret of the kind
    /// `kubernetes.io/tls`) in `<folder>/{service}`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let path = |name: &str| format!("{}/{{service}}/{name}", folder.display());
        Self {
            chain: path("tls.crt"),
            key: path("tls.key"),
            bundle: path("ca.crt"),
            every: Duration::from_secs(10),
        }
    }
}

/// Takes certificates from files: those of cert-manager's CSI driver, of a mounted secret.
///
/// The files of a service are read again when one of them was replaced (another inode, size or
/// time of modification, which a swapped symbolic link changes too), and what is read is taken as a
/// whole or not at all: files that were caught while they were replaced do not fit together, and
/// are read again.
///
/// What is trusted is what all bundle files say together, so that they can be replaced one after
/// the other.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: FilesConfig,
    trust_domain: TrustDomain,
    read: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    services: HashMap<SpiffeId, Kept>,
    /// Counts the changes of what is trusted.
    sequence: u64,
    bundle: Option<TrustBundle>,
}

/// What was read for one identity, and from which versions of the files.
#[derive(Clone, Debug)]
struct Kept {
    versions: [Version; 3],
    svid: Svid,
    bundle: TrustBundle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Files {
    /// Files by this template.
    #[must_use]
    pub fn new(config: FilesConfig, trust_domain: TrustDomain) -> Self {
        Self(Arc::new(Inner { config, trust_domain, read: Mutex::default() }))
    }

    fn issue_now(&self, id: &SpiffeId) -> Result<Issued, IssueError> {
        let paths = self.paths(id)?;
        // Before they are read: what is replaced in between has another version at the next look.
        let versions = versions(&paths)?;
        let known = self.0.read.lock().services.get(id).cloned();
        let fresh = match known {
            Some(known) if known.versions == versions => known,
            _ => self.read(id, &paths, versions)?,
        };
        let mut read = self.0.read.lock();
        read.services.insert(id.clone(), fresh.clone());
        let bundle = read.together(&self.0.trust_domain)?;
        Ok(Issued { svid: fresh.svid, bundle })
    }

    fn read(
        &self,
        id: &SpiffeId,
        paths: &[PathBuf; 3],
        versions: [Version; 3],
    ) -> Result<Kept, IssueError> {
        let [chain, key, bundle] = paths;
        let svid = Svid::from_pem(&content(chain)?, &content(key)?)?;
        if svid.id() != id {
            let (found, expected) = (svid.id().clone(), vec![id.clone()]);
            return Err(SvidError::Unexpected { found, expected }.into());
        }
        let bundle = TrustBundle::from_pem(self.0.trust_domain.clone(), &content(bundle)?, 0)?;
        Ok(Kept { versions, svid, bundle })
    }

    fn paths(&self, id: &SpiffeId) -> Result<[PathBuf; 3], IssueError> {
        // A segment of a SPIFFE id is neither empty nor relative and has no slash.
        let (namespace, service) = id
            .workload()
            .ok_or_else(|| IssueError::Refused(format!("{id} is not that of a workload")))?;
        let path = |template: &String| {
            let path = template.replace("{service}", service).replace("{namespace}", namespace);
            PathBuf::from(path)
        };
        let FilesConfig { chain, key, bundle, .. } = &self.0.config;
        Ok([path(chain), path(key), path(bundle)])
    }
}

impl Known {
    /// What all files say together.
    fn together(&mut self, trust_domain: &TrustDomain) -> Result<TrustBundle, IssueError> {
        let roots = self.services.values().flat_map(|read| read.bundle.roots());
        let roots = roots.map(|root| root.certificate().clone()).collect::<Vec<_>>();
        let bundle = TrustBundle::new(trust_domain.clone(), roots.clone(), self.sequence)?;
        match &self.bundle {
            Some(known) if *known == bundle => Ok(known.clone()),
            _ => {
                self.sequence += 1;
                let bundle = TrustBundle::new(trust_domain.clone(), roots, self.sequence)?;
                self.bundle = Some(bundle.clone());
                Ok(bundle)
            }
        }
    }
}

fn versions(paths: &[PathBuf; 3]) -> Result<[Version; 3], IssueError> {
    let version = |path: &Path| -> Result<Version, IssueError> {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        Ok(Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    };
    let [chain, key, bundle] = paths;
    Ok([version(chain)?, version(key)?, version(bundle)?])
}

fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, IssueError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(IssueError::Unavailable(format!("{} is too large", path.display())));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> IssueError {
    IssueError::Unavailable(format!("{} cannot be read: {error}", path.display()))
}

#[async_trait]
impl Issuer for Files {
    fn name(&self) -> &str {
        "files"
    }

    fn renewal(&self) -> Renewal {
        Renewal::Watch(self.0.config.every)
    }

    async fn issue(&self, id: &SpiffeId) -> Result<Issued, IssueError> {
        let (this, id) = (self.clone(), id.clone());
        blocking(move || this.issue_now(&id)).await
    }

    /// Known with the certificates, which are looked at more often.
    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError> {
        Ok(None)
    }

    fn forget(&self, id: &SpiffeId) {
        self.0.read.lock().services.remove(id);
    }
}
