//! Objects of any size. To send one to a client answer [`http::Stored`](crate::http::Stored).

use std::io;

use crate::{Error, Result, imports::blob as wit};

pub use crate::bindings::pyairtable::storage::blob::{Info, Listing, PutOptions};

impl PutOptions {
    /// Of a content type, without metadata or condition.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        Self { content_type: content_type.to_owned(), metadata: Vec::new(), if_match: None }
    }
}

/// What is known of an object.
///
/// # Errors
/// `blob.*`, here and below.
pub fn head(name: &str) -> Result<Info> {
    Ok(wit::head(name)?)
}

/// An object of at most 8 MiB.
///
/// # Errors
/// `blob.*`.
pub fn get(name: &str) -> Result<Vec<u8>> {
    Ok(wit::get(name)?)
}

/// An object, or a part of one, in pieces.
///
/// # Errors
/// `blob.*`.
pub fn open(name: &str, offset: u64, length: Option<u64>) -> Result<Reader> {
    Ok(Reader(wit::open(name, offset, length)?))
}

/// Stores an object.
///
/// # Errors
/// `blob.*`.
pub fn put(name: &str, content: &[u8], options: &PutOptions) -> Result<Info> {
    Ok(wit::put(name, content, options)?)
}

/// Stores an object in pieces; it appears whole at [`Writer::finish`].
///
/// # Errors
/// `blob.*`.
pub fn create(name: &str, options: &PutOptions) -> Result<Writer> {
    Ok(Writer(wit::create(name, options)?))
}

/// Copies an object.
///
/// # Errors
/// `blob.*`.
pub fn copy(source: &str, target: &str) -> Result<Info> {
    Ok(wit::copy(source, target)?)
}

/// Deletes an object.
///
/// # Errors
/// `blob.*`.
pub fn delete(name: &str) -> Result<()> {
    Ok(wit::delete(name)?)
}

/// Names in byte order, at most 1 000 a call.
///
/// # Errors
/// `blob.*`.
pub fn list(prefix: &str, after: Option<&str>, max: u32) -> Result<Listing> {
    Ok(wit::list_objects(prefix, after, max)?)
}

/// A URL that allows one method on one object for up to 7 days.
///
/// # Errors
/// `blob.*`.
pub fn presign(name: &str, method: &str, valid_seconds: u32) -> Result<String> {
    Ok(wit::presign(name, method, valid_seconds)?)
}

/// An object being read.
#[derive(Debug)]
pub struct Reader(wit::Reader);

impl Reader {
    /// The next piece: up to `max` bytes (at most 1 MiB), none at the end.
    ///
    /// # Errors
    /// `blob.*`.
    pub fn chunk(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        let chunk = self.0.read(max)?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = u32::try_from(buffer.len().min(1 << 20)).unwrap_or(1 << 20);
        let chunk = self.0.read(max).map_err(|e| io::Error::other(Error::from(e)))?;
        buffer[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

/// An object being written. Dropped before [`finish`](Self::finish) it leaves nothing.
#[derive(Debug)]
pub struct Writer(wit::Writer);

impl Writer {
    /// Writes a piece.
    ///
    /// # Errors
    /// `blob.*`.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(self.0.write(chunk)?)
    }

    /// Makes it appear.
    ///
    /// # Errors
    /// `blob.precondition`, `blob.*`.
    pub fn finish(self) -> Result<Info> {
        Ok(self.0.finish()?)
    }
}
