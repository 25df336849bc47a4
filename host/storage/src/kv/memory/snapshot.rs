//! The file that a store in memory comes back from after a restart.
//!
//! `AHKV`, a format version, the entries, and the SHA-256 of all before it. Numbers are big
//! endian. Written beside the old file and renamed over it, so that one whole file is there at
//! any moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use airhost_core::{make_private_folder, write_private_file};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    limit,
    shard::{Content, Slot},
};

const MAGIC: &[u8; 6] = b"AHKV\0\x01";
const CHECKSUM: usize = 32;

/// An entry of the file.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) key: Arc<str>,
    pub(super) content: Content,
    pub(super) version: u64,
    pub(super) expires_at: Option<u64>,
}

impl Saved {
    pub(super) fn of(key: &Arc<str>, slot: &Slot) -> Self {
        Self {
            key: Arc::clone(key),
            content: slot.content.clone(),
            version: slot.version,
            expires_at: slot.expires_at,
        }
    }
}

/// Writes the file.
pub(super) fn write(path: &Path, entries: &[Saved]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    make_private_folder(folder)?;
    let mut data = encode(entries);
    let checksum = Sha256::digest(&data);
    data.extend_from_slice(&checksum);
    write_private_file(path, &data)
}

/// Reads the file; nothing when there is none. A damaged one is set aside, because what is in it
/// can be rebuilt and a node must start.
pub(super) fn read(path: &Path) -> io::Result<Vec<Saved>> {
    let data = match fs::read(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if let Some(entries) = decode(&data) {
        return Ok(entries);
    }
    let aside = beside(path, "damaged");
    fs::rename(path, &aside)?;
    tracing::error!(
        path = %path.display(),
        aside = %aside.display(),
        "the snapshot of the key-value store is damaged: it is set aside and the store begins empty"
    );
    Ok(Vec::new())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn encode(entries: &[Saved]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_number(&mut out, entries.len() as u64);
    for entry in entries {
        put_bytes(&mut out, entry.key.as_bytes());
        put_number(&mut out, entry.version);
        put_number(&mut out, entry.expires_at.unwrap_or(u64::MAX));
        match &entry.content {
            Content::Value(value) => {
                out.push(0);
                put_bytes(&mut out, value);
            }
            Content::Counter(count) => {
                out.push(1);
                out.extend_from_slice(&count.to_be_bytes());
            }
            Content::List(values) => {
                out.push(2);
                put_number(&mut out, values.len() as u64);
                values.iter().for_each(|value| put_bytes(&mut out, value));
            }
            Content::Limit(state) => put_limit(&mut out, state),
        }
    }
    out
}

fn put_limit(out: &mut Vec<u8>, state: &limit::State) {
    let (kind, scaled, numbers) = match *state {
        limit::State::TokenBucket { level, capacity, period, at } => {
            (3, level, [capacity, period, at, 0])
        }
        limit::State::Gcra { debt, period, at } => (4, debt, [0, period, at, 0]),
        limit::State::SlidingWindow { previous, current, period, index } => {
            (5, 0, [previous, period, index, current])
        }
        limit::State::FixedWindow { current, period, index } => (6, 0, [0, period, index, current]),
    };
    out.push(kind);
    out.extend_from_slice(&scaled.to_be_bytes());
    numbers.into_iter().for_each(|number| put_number(out, number));
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The entries; nothing when the file is not whole or not of this format.
fn decode(data: &[u8]) -> Option<Vec<Saved>> {
    let (content, checksum) = data.split_at_checked(data.len().checked_sub(CHECKSUM)?)?;
    if Sha256::digest(content).as_slice() != checksum {
        return None;
    }
    let mut input = Input(content.strip_prefix(MAGIC)?);
    let count = usize::try_from(input.number()?).ok()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(input.entry()?);
    }
    input.0.is_empty().then_some(entries)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Bytes::copy_from_slice(bytes))
    }

    fn entry(&mut self) -> Option<Saved> {
        let key = self.bytes()?;
        let key = str::from_utf8(&key).ok()?.into();
        let version = self.number()?;
        let expires_at = self.number().map(|at| (at != u64::MAX).then_some(at))?;
        let [kind] = self.array()?;
        let content = match kind {
            0 => Content::Value(self.bytes()?),
            1 => Content::Counter(self.array().map(i64::from_be_bytes)?),
            2 => {
                let count = self.number()?;
                Content::List((0..count).map(|_| self.bytes()).collect::<Option<_>>()?)
            }
            kind => {
                let scaled = self.array().map(u128::from_be_bytes)?;
                let [a, period, at, current] =
                    [self.number()?, self.number()?.max(1), self.number()?, self.number()?];
                Content::Limit(match kind {
                    3 => limit::State::TokenBucket { level: scaled, capacity: a, period, at },
                    4 => limit::State::Gcra { debt: scaled, period, at },
                    5 => limit::State::SlidingWindow { previous: a, current, period, index: at },
                    6 => limit::State::FixedWindow { current, period, index: at },
                    _ => return None,
                })
            }
        };
        Some(Saved { key, content, version, expires_at })
    }
}
