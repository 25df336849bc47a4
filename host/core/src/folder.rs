//! Folders that are there to stay.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Makes a folder, and those above it, for the owner only (0700), if it is not there. Its name is
/// on the disk when this returns: what is synced within it is found again after a loss of power.
/// (POSIX promises that of a name only once the folder that has it is synced.)
///
/// # Errors
/// Those of the file system; `AlreadyExists` where something else has the name.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
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
}
