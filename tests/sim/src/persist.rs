//! The file that keeps the data over restarts.
//!
//! Three names belong to a data file `F`: `F` itself, the folder `F.files` with the contents of
//! uploaded files, and `F.lock`, which keeps a second simulator away. Uploaded files never change
//! and are written once, before the file that lists them; the file is replaced as a whole.

mod saver;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::model::Blob;
use crate::world::{self, Loaded, SavedWorld};

pub(crate) use saver::run;

/// How long a start waits for a simulator that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The wait between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// A data file that this process holds.
#[derive(Debug)]
pub(crate) struct DataFile {
    path: PathBuf,
    /// Held while it is open.
    _lock: File,
    /// Keys of the uploaded files that lie in the folder.
    stored: Mutex<HashSet<String>>,
}

/// The folder of a data file's uploaded files.
pub(crate) fn files_folder(path: &Path) -> PathBuf {
    beside(path, ".files")
}

/// `path` with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that a file lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Data { path: path.to_owned(), source }
}

impl DataFile {
    /// Makes the folder when there is none, and keeps others away from the file.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        make_folder(parent(path)).map_err(failed(parent(path)))?;
        let lock_path = beside(path, ".lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = owner_only(&mut options).open(&lock_path).map_err(failed(&lock_path))?;
        let end = Instant::now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::DataInUse { path: path.to_owned() });
                }
                Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
            }
        }
        Ok(Self { path: path.to_owned(), _lock: lock, stored: Mutex::default() })
    }

    /// Reads the data; none when there is no file, or a damaged one, which is set aside.
    pub(crate) fn load(&self) -> Result<Option<Loaded>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&self.path)(source)),
        };
        let folder = files_folder(&self.path);
        match world::read(&text, Some(&folder)) {
            Ok(loaded) => {
                let keys: HashSet<_> = loaded.data.blobs.keys().cloned().collect();
                sweep(&folder, &keys).map_err(failed(&folder))?;
                *self.stored.lock() = keys;
                tracing::info!(file = %self.path.display(), "the data is read from its file");
                Ok(Some(loaded))
            }
            // The file may be sound.
            Err(error @ Error::Data { .. }) => Err(error),
            Err(error) => {
                let aside = self.set_aside()?;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    file = %self.path.display(),
                    aside = %aside.display(),
                    "the data file is damaged and set aside; the data begins anew"
                );
                Ok(None)
            }
        }
    }

    /// Gives a damaged file and its folder other names, under which there is nothing yet.
    fn set_aside(&self) -> Result<PathBuf> {
        let names = (1..).map(|n| match n {
            1 => beside(&self.path, ".damaged"),
            n => beside(&self.path, &format!(".damaged-{n}")),
        });
        let free = |name: &PathBuf| !name.exists() && !files_folder(name).exists();
        let aside = { names }.find(free).unwrap_or_else(|| beside(&self.path, ".damaged"));
        let folder = files_folder(&self.path);
        if folder.exists() {
            fs::rename(&folder, files_folder(&aside)).map_err(failed(&folder))?;
        }
        fs::rename(&self.path, &aside).map_err(failed(&self.path))?;
        Ok(aside)
    }

    /// Writes the data: after this returns it survives the end of the process and of the machine.
    fn save(&self, saved: &SavedWorld, blobs: &HashMap<String, Blob>) -> io::Result<()> {
        let mut stored = self.stored.lock();
        let folder = files_folder(&self.path);
        let fresh: Vec<_> = blobs.iter().filter(|(key, _)| !stored.contains(*key)).collect();
        if !fresh.is_empty() {
            make_folder(&folder)?;
            for (key, blob) in fresh {
                replace(&folder.join(key), |file| file.write_all(&blob.data))?;
                stored.insert(key.clone());
            }
            sync_folder(&folder)?;
        }
        replace(&self.path, |file| {
            let mut out = BufWriter::with_capacity(1 << 16, file);
            serde_json::to_writer(&mut out, saved)?;
            out.flush()
        })?;
        sync_folder(parent(&self.path))?;
        let gone: Vec<_> = stored.iter().filter(|key| !blobs.contains_key(*key)).cloned().collect();
        for key in gone {
            remove(&folder.join(&key))?;
            stored.remove(&key);
        }
        Ok(())
    }
}

/// Removes uploaded files that nothing lists: those written just before a crash.
fn sweep(folder: &Path, listed: &HashSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let key = name.strip_suffix(".tmp").unwrap_or(name);
        if world::is_key(key) && !listed.contains(name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file under another name and puts it in place whole.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let draft = beside(path, ".tmp");
    remove(&draft)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = owner_only(&mut options).open(&draft)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes a folder for its owner alone; one that is there stays as it is.
fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes new names in a folder last.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
