//! Private files that hold keys: sealed with a key of the configuration, or plain, for their owner.
//!
//! A file is one header line and a body. The header says what the file is, how it is protected and
//! either the digest of the body (plain) or which key sealed it, so that damage and a wrong key are
//! told apart.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use airhost_core::write_private_file;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
};
use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Longest header line, in bytes.
const MAX_HEADER: usize = 256;

/// The key that files with private keys are encrypted with (AES-256-GCM). It is wiped when it is
/// let go and never printed.
#[derive(Clone)]
pub struct AtRestKey(Zeroizing<[u8; Self::LENGTH]>);

impl AtRestKey {
    /// Its length in bytes.
    pub const LENGTH: usize = 32;

    /// A key that the operator gives. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Names the key in a file's header without saying anything about it.
    fn name(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        hex::encode(&hmac::sign(&key, b"airhost at-rest key name").as_ref()[..8])
    }

    #[expect(clippy::expect_used, reason = "AES-256 takes any 32 bytes")]
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_ref()).expect("32 bytes"))
    }
}

impl fmt::Debug for AtRestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtRestKey")
    }
}

/// Why a file with private keys cannot be used. Each names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file system does not let it be read or written.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: io::Error,
    },
    /// It holds keys in plain, and others than its owner may read it.
    #[error("others than its owner may read {}; set its mode to 0600", path.display())]
    Shared {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{} is damaged: {what}; restore it from a backup ({otherwise})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// What happens if it is removed instead.
        otherwise: &'static str,
    },
    /// It is encrypted, and there is no key to open it with.
    #[error("{} is encrypted; configure the key it was encrypted with", path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// It was encrypted with another key than the configured one.
    #[error("{} was encrypted with another key; configure that key, or restore the file that fits the configured one from a backup", path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another trust domain than the configured one.
    #[error("{} is of the trust domain {found}, and {configured} is configured; configure {found}, or begin with an empty state folder", path.display())]
    TrustDomain {
        /// The file.
        path: PathBuf,
        /// The trust domain in the file.
        found: String,
        /// The one of the configuration.
        configured: String,
    },
    /// The system has no random numbers.
    #[error("there are no random numbers to write {} with", path.display())]
    Random {
        /// The file.
        path: PathBuf,
    },
}

/// A kind of private file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What the header begins with: name and version.
    pub(crate) magic: &'static str,
    /// What happens if the file is removed, for the error that says it is damaged.
    pub(crate) otherwise: &'static str,
}

/// What a file holds.
pub(crate) struct Opened {
    pub(crate) content: Zeroizing<Vec<u8>>,
    pub(crate) plain: bool,
}

impl Kind {
    /// Reads a file; none if there is no such file.
    pub(crate) fn read(
        self,
        path: &Path,
        key: Option<&AtRestKey>,
    ) -> Result<Option<Opened>, FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        let mut file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io)?,
        };
        let mode = file.metadata().map_err(io)?.permissions().mode();
        let mut bytes = Zeroizing::new(Vec::new());
        (&mut file).take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(self.damaged(path, "it is too large"));
        }
        let end = bytes.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| self.damaged(path, "it has no header"))?;
        let (header, body) = (&bytes[..end], &bytes[end + 1..]);
        let fields = std::str::from_utf8(header)
            .ok()
            .and_then(|header| header.strip_prefix(self.magic))
            .map(|rest| rest.split_ascii_whitespace().collect::<Vec<_>>());
        match fields.as_deref() {
            Some(["plain", digest]) => {
                if mode & 0o077 != 0 {
                    return Err(FileError::Shared { path: path.to_owned() });
                }
                if *digest != sha256(body) {
                    return Err(self.damaged(path, "its digest is not that of its content"));
                }
                Ok(Some(Opened { content: Zeroizing::new(body.to_vec()), plain: true }))
            }
            Some(["aes-256-gcm", name]) => {
                let Some(key) = key else {
                    return Err(FileError::KeyMissing { path: path.to_owned() });
                };
                if *name != key.name() {
                    return Err(FileError::WrongKey { path: path.to_owned() });
                }
                let content = open(key, header, body).ok_or_else(|| {
                    self.damaged(path, "it cannot be decrypted, though the key is the right one")
                })?;
                Ok(Some(Opened { content, plain: false }))
            }
            _ => Err(self.damaged(path, "its header is not one that this version writes")),
        }
    }

    /// Writes a file whole or not at all, sealed if there is a key.
    pub(crate) fn write(
        self,
        path: &Path,
        key: Option<&AtRestKey>,
        content: &[u8],
    ) -> Result<(), FileError> {
        let mut file = Zeroizing::new(Vec::with_capacity(content.len() + MAX_HEADER));
        match key {
            None => {
                file.extend_from_slice(
                    format!("{} plain {}\n", self.magic, sha256(content)).as_bytes(),
                );
                file.extend_from_slice(content);
            }
            Some(key) => {
                let header = format!("{} aes-256-gcm {}", self.magic, key.name());
                let sealed = seal(key, header.as_bytes(), content)
                    .ok_or_else(|| FileError::Random { path: path.to_owned() })?;
                file.extend_from_slice(header.as_bytes());
                file.push(b'\n');
                file.extend_from_slice(&sealed);
            }
        }
        write_private_file(path, &file)
            .map_err(|source| FileError::Io { path: path.to_owned(), source })
    }

    pub(crate) fn damaged(self, path: &Path, what: &'static str) -> FileError {
        FileError::Damaged { path: path.to_owned(), what, otherwise: self.otherwise }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// Nonce, ciphertext and tag.
fn seal(key: &AtRestKey, header: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    // Room for the tag, so that the content is not left behind in a buffer that grew.
    let mut sealed = Vec::with_capacity(content.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(content);
    let value = Nonce::assume_unique_for_key(nonce);
    key.cipher().seal_in_place_append_tag(value, Aad::from(header), &mut sealed).ok()?;
    Some([&nonce, sealed.as_slice()].concat())
}

fn open(key: &AtRestKey, header: &[u8], body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.cipher().open_in_place(nonce, Aad::from(header), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: "airhost-test 1", otherwise: "nothing happens" };

    fn key(byte: u8) -> AtRestKey {
        AtRestKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn content_comes_back_with_the_key_it_was_written_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(KIND.read(&path, None).unwrap().is_none());
        for (written, read, good) in [
            (None, None, true),
            (None, Some(key(1)), true),
            (Some(key(1)), Some(key(1)), true),
            (Some(key(1)), Some(key(2)), false),
            (Some(key(1)), None, false),
        ] {
            KIND.write(&path, written.as_ref(), b"a secret\nof lines").unwrap();
            let bytes = fs::read(&path).unwrap();
            let visible = bytes.windows(8).any(|window| window == b"a secret");
            assert_eq!(visible, written.is_none());
            match KIND.read(&path, read.as_ref()) {
                Ok(Some(opened)) => {
                    assert!(good);
                    assert_eq!(opened.content.as_slice(), b"a secret\nof lines");
                    assert_eq!(opened.plain, written.is_none());
                }
                Err(FileError::WrongKey { .. }) => assert!(!good && read.is_some()),
                Err(FileError::KeyMissing { .. }) => assert!(!good && read.is_none()),
                other => panic!("{:?}", other.map(|opened| opened.is_some())),
            }
        }
    }

    #[test]
    fn any_change_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for key in [None, Some(key(1))] {
            KIND.write(&path, key.as_ref(), b"content").unwrap();
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0x20;
                fs::write(&path, &changed).unwrap();
                assert!(KIND.read(&path, key.as_ref()).is_err(), "byte {at}");
                fs::write(&path, &whole[..at]).unwrap();
                assert!(KIND.read(&path, key.as_ref()).is_err(), "cut at {at}");
            }
        }
        fs::write(&path, b"").unwrap();
        let error = KIND.read(&path, None).map(drop).unwrap_err().to_string();
        assert!(error.contains("file is damaged") && error.contains("nothing happens"), "{error}");
    }

    #[test]
    fn plain_keys_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        KIND.write(&path, None, b"content").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KIND.read(&path, None), Err(FileError::Shared { .. })));
        assert_eq!(format!("{:?}", key(7)), "AtRestKey");
    }
}
