//! The state folder: everything a node keeps, for one node at a time.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use airhost_core::{make_private_folder, write_private_file};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FlockOperation, flock};

/// The folder, locked for this process as long as this lives.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    _lock: File,
}

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another node has it.
    #[error("another node uses the state folder {}: stop it, or choose another folder with --state", .0.display())]
    Taken(PathBuf),
    /// Someone else could read what is in it.
    #[error("the state folder {} may be entered by others (mode {mode:o}): `chmod 700` it", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl State {
    /// Opens the folder, which is made with mode 0700 if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let make = make_private_folder(folder);
        make.map_err(|source| failed("make", folder, source))?;
        let metadata = fs::metadata(folder).map_err(|source| failed("look at", folder, source))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 && metadata.uid() == rustix::process::geteuid().as_raw() {
            return Err(StateError::Open { path: folder.to_owned(), mode });
        }
        let path = folder.join("lock");
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => StateError::Taken(folder.to_owned()),
            other => failed("lock", &path, other.into()),
        })?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder in it, which is made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.path(name);
        let make = make_private_folder(&path);
        make.map_err(|source| failed("make", &path, source))?;
        Ok(path)
    }

    /// The 32 random bytes in a file, made at the first start.
    pub(crate) fn key(&self, name: &str) -> Result<[u8; 32], StateError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                let damaged = io::Error::new(io::ErrorKind::InvalidData, "it must have 32 bytes");
                failed("use", &path, damaged)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                SystemRandom::new()
                    .fill(&mut key)
                    .map_err(|_| failed("make", &path, io::Error::other("no randomness")))?;
                write_private(&path, &key)?;
                Ok(key)
            }
            Err(source) => Err(failed("read", &path, source)),
        }
    }
}

/// Whether a node could have the folder now, for those who write to it before the node starts. The
/// folder is made if it is not there.
///
/// # Errors
/// Why not: another node has it, others may enter it, or the file system says no.
pub fn check_state(folder: &Path) -> Result<(), StateError> {
    State::open(folder).map(drop)
}

/// Writes a file of the state folder, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), StateError> {
    write_private_file(path, content).map_err(|source| failed("write", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = State::open(&path).unwrap();
        assert!(matches!(State::open(&path), Err(StateError::Taken(_))));
        drop(first);
        State::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::Open { mode: 0o755, .. })));
    }

    #[test]
    fn a_key_stays_the_same_and_belongs_to_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        let key = state.key("cache.key").unwrap();
        assert_eq!(state.key("cache.key").unwrap(), key);
        assert_ne!(state.key("other.key").unwrap(), key);
        assert_eq!(
            fs::metadata(state.path("cache.key")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
