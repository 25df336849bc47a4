use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

/// The key that wraps the data keys of a vault: 32 bytes.
pub struct MasterKey(LessSafeKey);

impl MasterKey {
    /// Its length in bytes.
    pub const LENGTH: usize = 32;

    /// A key that the operator gives.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(sealing_key(bytes))
    }

    /// Reads the key file, which only its owner may read.
    ///
    /// # Errors
    /// Those of the file system; `PermissionDenied` if others may read the file, `InvalidData` if
    /// it does not have 32 bytes.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        refuse_if_shared(&file)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::LENGTH + 1));
        (&mut file).take(Self::LENGTH as u64 + 1).read_to_end(&mut bytes)?;
        let bytes: &[u8; Self::LENGTH] = bytes.as_slice().try_into().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "a master key file has 32 bytes")
        })?;
        Ok(Self(sealing_key(bytes)))
    }

    /// Makes a key and writes it to a new file that only its owner may read. The file is there
    /// completely or not at all, also after a power cut.
    ///
    /// # Errors
    /// Those of the file system; `AlreadyExists` if there is such a file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        SystemRandom::new()
            .fill(bytes.as_mut())
            .map_err(|Unspecified| io::Error::other("no random numbers"))?;
        let draft = path.with_extension("draft");
        // Left behind by a start that was cut short, before anything was wrapped with it.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = private_file(&draft)?;
        file.write_all(bytes.as_ref())?;
        file.sync_all()?;
        // A link, unlike a rename, never replaces a key that is in use.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        linked?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(sealing_key(&bytes)))
    }

    pub(crate) fn key(&self) -> &LessSafeKey {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// A new file that only its owner may read and write.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn refuse_if_shared(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if file.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "others than the owner may use the master key file; set its mode to 0600",
    ))
}

#[cfg(not(unix))]
fn refuse_if_shared(_: &File) -> io::Result<()> {
    Ok(())
}

#[expect(clippy::expect_used, reason = "AES-256 takes any 32 bytes")]
pub(crate) fn sealing_key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes"))
}

/// Nonce, ciphertext and tag.
pub(crate) fn seal(
    key: &LessSafeKey,
    random: &SystemRandom,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce)?;
    // Room for the tag, so that the plaintext is not left behind in a buffer that grew.
    let mut sealed = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(plaintext);
    let nonce_value = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_value, Aad::from(aad), &mut sealed)?;
    Ok([&nonce, sealed.as_slice()].concat())
}

/// The plaintext of what [`seal`] made.
pub(crate) fn open(
    key: &LessSafeKey,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(aad), &mut buffer)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = MasterKey::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = MasterKey::create(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let read = MasterKey::read(&path).unwrap();
        let sealed = seal(made.key(), &SystemRandom::new(), b"a", b"text").unwrap();
        assert_eq!(open(read.key(), b"a", &sealed).unwrap().as_slice(), b"text");
        assert!(open(read.key(), b"b", &sealed).is_err());
        assert!(open(read.key(), b"a", &sealed[..5]).is_err());
        assert_eq!(format!("{read:?}"), "MasterKey");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(MasterKey::read(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let short = folder.path().join("short.key");
        private_file(&short).unwrap().write_all(&[1; 31]).unwrap();
        assert_eq!(MasterKey::read(&short).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
