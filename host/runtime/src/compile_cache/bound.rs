//! Keeps the folder small: each revision and each engine leave a file, and nobody else removes it.

use std::{
    fs::{self, DirEntry, File},
    io,
    path::Path,
    time::SystemTime,
};

/// Bytes that are kept. A service's compiled code is a few megabytes.
pub(super) const KEEP: u64 = 2 << 30;

/// Removes what a write that was killed has left. One process alone uses the folder, so nothing is
/// being written while it opens it.
pub(super) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_aside(&entry) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Marks a file as used now, so that it goes last.
pub(super) fn used(file: &Path) -> io::Result<()> {
    File::open(file)?.set_modified(SystemTime::now())
}

/// Removes the files that were not used for the longest time, until `keep` bytes are left.
pub(super) fn evict(folder: &Path, keep: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() && !is_aside(&entry) {
            files.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    files.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    let mut sum = 0;
    for (_, bytes, path) in files {
        sum += bytes;
        if sum > keep {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Files are written under a hidden name and moved into place.
fn is_aside(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_used_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, age) in [("oldest", 30), ("middle", 20), ("newest", 10)] {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            File::open(&path).unwrap().set_modified(now - Duration::from_secs(age)).unwrap();
        }
        evict(folder.path(), 300).unwrap();
        assert_eq!(names(folder.path()), ["middle", "newest", "oldest"]);
        used(&folder.path().join("oldest")).unwrap();
        evict(folder.path(), 299).unwrap();
        assert_eq!(names(folder.path()), ["newest", "oldest"]);
    }

    #[test]
    fn leftovers_go_and_code_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.cwasm.0123", "a.cwasm"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["a.cwasm"]);
    }
}
