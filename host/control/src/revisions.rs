//! Which artifact of each service serves, kept in the state folder across restarts.
//!
//! `<folder>/<service>/<digest>.wasm` are the artifacts and `<folder>/<service>/active` names the
//! one that serves. A file is written whole, synced and renamed, so that a crash at any moment
//! leaves the old state or the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use airhost_core::{Revision, ServiceName, make_private_folder, write_private_file};

/// Artifacts kept of each service: the active one and those before it.
const KEPT: usize = 3;

/// The folder of revisions.
#[derive(Debug)]
pub struct Revisions {
    folder: PathBuf,
}

/// The folder of revisions cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct RevisionsError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// An artifact that was active when the node stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its service.
    pub service: ServiceName,
    /// The file's digest.
    pub digest: Revision,
    /// Its bytes, which have that digest.
    pub artifact: Vec<u8>,
}

impl Revisions {
    /// Opens the folder, which is made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, RevisionsError> {
        private_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The active artifact of a service, if there is one and it is undamaged.
    pub fn active(&self, service: &ServiceName) -> Result<Option<Stored>, RevisionsError> {
        let folder = self.folder.join(service.as_str());
        let pointer = folder.join("active");
        let text = match fs::read_to_string(&pointer) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", &pointer, source)),
        };
        let Ok(digest) = text.trim().parse::<Revision>() else {
            tracing::warn!(%service, "the active revision's name is damaged and is ignored");
            return Ok(None);
        };
        let path = artifact_path(&folder, &digest);
        let artifact = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        if Revision::of(&artifact) != digest {
            tracing::warn!(%service, ?digest, "the active artifact does not have its digest and is ignored");
            return Ok(None);
        }
        Ok(Some(Stored { service: service.clone(), digest, artifact }))
    }

    /// The active artifacts of all services.
    pub fn all(&self) -> Result<Vec<Stored>, RevisionsError> {
        let entries =
            fs::read_dir(&self.folder).map_err(|source| failed("list", &self.folder, source))?;
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let Some(service) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            all.extend(self.active(&service)?);
        }
        all.sort_by(|a, b| a.service.cmp(&b.service));
        Ok(all)
    }

    /// Keeps an artifact and makes it the active one; answers its digest.
    pub fn activate(
        &self,
        service: &ServiceName,
        artifact: &[u8],
    ) -> Result<Revision, RevisionsError> {
        let revision = Revision::of(artifact);
        let folder = self.folder.join(service.as_str());
        private_folder(&folder)?;
        let path = artifact_path(&folder, &revision);
        if !path.is_file() {
            write(&path, artifact)?;
        }
        write(&folder.join("active"), revision.to_string().as_bytes())?;
        self.remove_old(&folder, &revision);
        Ok(revision)
    }

    /// Removes all but the newest artifacts. What cannot be removed only takes room.
    fn remove_old(&self, folder: &Path, active: &Revision) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut artifacts: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
            .filter(|path| *path != artifact_path(folder, active))
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        artifacts.sort_by(|a, b| b.cmp(a));
        for (_, path) in artifacts.into_iter().skip(KEPT - 1) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old artifact cannot be removed");
            }
        }
    }
}

fn artifact_path(folder: &Path, revision: &Revision) -> PathBuf {
    folder.join(format!("{revision}.wasm"))
}

fn private_folder(folder: &Path) -> Result<(), RevisionsError> {
    make_private_folder(folder).map_err(|source| failed("make", folder, source))
}

fn write(path: &Path, content: &[u8]) -> Result<(), RevisionsError> {
    write_private_file(path, content).map_err(|source| failed("write", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> RevisionsError {
    RevisionsError { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Revisions, ServiceName) {
        let folder = tempfile::tempdir().unwrap();
        let revisions = Revisions::open(&folder.path().join("revisions")).unwrap();
        (folder, revisions, "auth-service".parse().unwrap())
    }

    #[test]
    fn the_last_activated_artifact_is_active_after_a_restart() {
        let (folder, revisions, service) = open();
        assert_eq!(revisions.active(&service).unwrap(), None);
        revisions.activate(&service, b"one").unwrap();
        let revision = revisions.activate(&service, b"two").unwrap();
        let again = Revisions::open(&folder.path().join("revisions")).unwrap();
        let stored =
            Stored { service: service.clone(), digest: revision, artifact: b"two".to_vec() };
        assert_eq!(again.active(&service).unwrap(), Some(stored.clone()));
        assert_eq!(again.all().unwrap(), [stored]);
    }

    #[test]
    fn a_damaged_artifact_is_not_served() {
        let (folder, revisions, service) = open();
        let revision = revisions.activate(&service, b"one").unwrap();
        let path = folder.path().join(format!("revisions/auth-service/{revision}.wasm"));
        fs::write(path, b"other").unwrap();
        assert_eq!(revisions.active(&service).unwrap(), None);
    }

    #[test]
    fn only_the_newest_artifacts_are_kept() {
        let (folder, revisions, service) = open();
        for content in [b"1", b"2", b"3", b"4", b"5"] {
            revisions.activate(&service, content).unwrap();
        }
        let kept = fs::read_dir(folder.path().join("revisions/auth-service")).unwrap().flatten();
        let kept =
            kept.filter(|entry| entry.path().extension().is_some_and(|e| e == "wasm")).count();
        assert_eq!(kept, KEPT);
        assert_eq!(revisions.active(&service).unwrap().unwrap().artifact, b"5");
    }
}
