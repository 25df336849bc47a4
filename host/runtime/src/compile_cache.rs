//! Compiled code between starts of a node.
//!
//! A file of compiled code is code: whoever can change it runs what they like in this process. So
//! the folder belongs to the node alone (0700), every file carries an HMAC-SHA256 under the
//! node's key over its name and content, and what is loaded is the private copy that was checked:
//! the file is opened once without following links, read whole, and not looked at again. What is
//! not right in any way is ignored with a log line and compiled anew.

mod bound;

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use airhost_core::Revision;
use ring::hmac;
use rustix::fs::{Mode, OFlags};
use wasmtime::component::Component;

use crate::{config::CacheKey, error::Error};

/// First bytes of a file; the number grows with the layout.
const MAGIC: &[u8; 8] = b"AIRHOST\x01";
const TAG: usize = 32;
/// Largest file that is read: compiled code is some times larger than the component.
const MAX: u64 = 1 << 30;

/// Names one compiled component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Digest of the component that was compiled.
    pub digest: Revision,
    /// Of the engine: engines that differ cannot load each other's code.
    pub compatibility: u64,
    /// Whether it is the snapshot that this node took of the component.
    pub snapshot: bool,
}

impl Key {
    fn file_name(self) -> String {
        let kind = if self.snapshot { "-snapshot" } else { "" };
        format!(
            "{}-{:016x}-{}{kind}.cwasm",
            self.digest,
            self.compatibility,
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// The folder of compiled code.
#[derive(Debug)]
pub(crate) struct CompileCache {
    folder: PathBuf,
    key: hmac::Key,
}

impl CompileCache {
    /// Opens the folder, or makes it.
    pub(crate) fn open(folder: &Path, key: &CacheKey) -> Result<Self, Error> {
        let fault = |reason: String| Error::CacheFolder {
            reason: format!("{}: {reason}", folder.display()),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| fault(error.to_string()))?;
        let meta = fs::symlink_metadata(folder).map_err(|error| fault(error.to_string()))?;
        if !meta.is_dir() {
            return Err(fault("it is not a folder of its own".to_owned()));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(fault("it belongs to another user".to_owned()));
        }
        if meta.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .map_err(|error| fault(error.to_string()))?;
        }
        bound::remove_leftovers(folder).map_err(|error| fault(error.to_string()))?;
        Ok(Self { folder: folder.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, key.bytes()) })
    }

    /// The component, if the folder has it and the file is the node's own.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, key: Key) -> Option<Component> {
        let path = self.folder.join(key.file_name());
        let content = match self.read(&path, key) {
            Ok(content) => content?,
            Err(reason) => {
                tracing::warn!(file = %path.display(), reason, "compiled code is ignored");
                return None;
            }
        };
        match deserialize(engine, &content) {
            Ok(component) => {
                if let Err(error) = bound::used(&path) {
                    tracing::debug!(file = %path.display(), %error, "the use is not marked");
                }
                Some(component)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), reason = %error, "compiled code is ignored");
                None
            }
        }
    }

    /// Keeps compiled code for the next start: written aside and moved into place, so that a
    /// reader sees all of it or nothing.
    pub(crate) fn store(&self, key: Key, code: &[u8]) -> std::io::Result<()> {
        let name = key.file_name();
        let aside = self.folder.join(format!(".{name}.{:016x}", rand::random::<u64>()));
        let written = (|| {
            let mut file = create_new(&aside)?;
            file.write_all(MAGIC)?;
            file.write_all(self.tag(&name, code).as_ref())?;
            file.write_all(code)?;
            file.sync_data()?;
            fs::rename(&aside, self.folder.join(&name))?;
            // The name is there after a loss of power only if the folder is synced.
            File::open(&self.folder)?.sync_all()?;
            bound::evict(&self.folder, bound::KEEP)
        })();
        if written.is_err() {
            // What is left aside is never read; removing it is housekeeping.
            drop(fs::remove_file(&aside));
        }
        written
    }

    fn tag(&self, name: &str, code: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(MAGIC);
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(code);
        context.sign()
    }

    /// The checked content, or none when there is no such file.
    fn read(&self, path: &Path, key: Key) -> Result<Option<Checked>, &'static str> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err("it is a symbolic link"),
            Err(_) => return Err("it cannot be opened"),
        };
        let meta = file.metadata().map_err(|_| "it cannot be examined")?;
        if !meta.is_file() {
            return Err("it is not a regular file");
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err("it belongs to another user");
        }
        if meta.permissions().mode() & 0o022 != 0 {
            return Err("others may write it");
        }
        if meta.len() > MAX {
            return Err("it is too large");
        }
        let mut content = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        Read::take(&mut file, MAX).read_to_end(&mut content).map_err(|_| "it cannot be read")?;
        let (Some(magic), Some(tag)) =
            (content.get(..MAGIC.len()), content.get(MAGIC.len()..MAGIC.len() + TAG))
        else {
            return Err("it is cut off");
        };
        if magic != MAGIC {
            return Err("it has another layout");
        }
        let mut signed = Vec::with_capacity(content.len());
        signed.extend_from_slice(MAGIC);
        signed.extend_from_slice(key.file_name().as_bytes());
        signed.push(0);
        signed.extend_from_slice(&content[MAGIC.len() + TAG..]);
        // ring compares in constant time.
        hmac::verify(&self.key, &signed, tag)
            .map_err(|_| "it was not written by this node, or was changed")?;
        Ok(Some(Checked(content)))
    }
}

/// A file's content, in memory of this process alone, whose tag was right.
struct Checked(Vec<u8>);

impl Checked {
    fn code(&self) -> &[u8] {
        &self.0[MAGIC.len() + TAG..]
    }
}

fn create_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[expect(
    unsafe_code,
    reason = "loading compiled code is the one thing that cannot be checked by its content"
)]
fn deserialize(engine: &wasmtime::Engine, content: &Checked) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Component::serialize` of a trusted wasmtime made. They are a
    // private copy, owned by `content`, whose HMAC under the node's key was right
    // (`CompileCache::read` is the only maker of `Checked`), and the node writes nothing under
    // that key but what its own compiler made (`Compiler::compile`). wasmtime itself refuses code
    // of another version or of an engine with other settings.
    unsafe { Component::deserialize(engine, content.code()) }
}
