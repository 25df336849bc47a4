//! Files and folders that are there to stay, for their owner only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Makes a folder, and those above it, for the owner only (0700), if it is not there. Its name is
/// on the disk when this returns: what is synced within it is found again after a loss of power.
/// (POSIX promises that of a name only once the folder that has it is synced.)
///
/// # Errors
/// Those of the file system; `AlreadyExists` where something else has the name.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    let Some(parent) = above(folder) else { return Ok(()) };
    if !folder.is_dir() {
        if !parent.is_dir() {
            make_private_folder(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            // Another made it in the meantime.
            Err(_) if folder.is_dir() => {}
            other => other?,
        }
    }
    // Also where it was there: whoever made it may have been killed before this.
    match File::open(parent) {
        Ok(parent) => parent.sync_all(),
        // One that may not be read has been given this folder by somebody else, long ago.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::metadata(folder).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Writes a file that is there whole or not at all, for the owner only (0600), in place of the one
/// that has the name; on the disk when this returns. The folder has to be there, and is written by
/// nobody else meanwhile: the content comes into being under the name with `.new` at its end, which
/// a crash may leave behind.
///
/// # Errors
/// Those of the file system; the old file is there then as it was.
pub fn write_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    above(path).map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The folder that something is in; none of the root.
fn above(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn makes_what_is_missing_for_the_owner_only() {
        let above = std::env::temp_dir().join(format!("airhost-folder-{}", std::process::id()));
        let folder = above.join("a/b");
        make_private_folder(&folder).unwrap();
        make_private_folder(&folder).unwrap();
        for made in [&above, &above.join("a"), &folder] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let file = folder.join("file");
        fs::write(&file, b"").unwrap();
        let taken = make_private_folder(&file).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert!(make_private_folder(&file.join("below")).is_err());
        fs::remove_dir_all(&above).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_or_kept() {
        let folder = std::env::temp_dir().join(format!("airhost-file-{}", std::process::id()));
        make_private_folder(&folder).unwrap();
        let path = folder.join("a.b");
        write_private_file(&path, b"first").unwrap();
        write_private_file(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        // Where the new one cannot be made, the old one stays.
        fs::create_dir(folder.join("a.b.new")).unwrap();
        assert!(write_private_file(&path, b"third").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"2");
        fs::remove_dir_all(&folder).unwrap();
    }
}
