//! gzip (RFC 1952), deflate (zlib, RFC 1950, as HTTP means it), zstd (RFC 8878) and brotli
//! (RFC 7932), with a limit on what comes out.

use std::io::{self, Read, Write};

use airhost_core::{Error, Result, codes};

/// The most that comes out of [`decompress`], whatever the caller allows.
pub const MAX_OUTPUT: u64 = 64 << 20;

/// Data up to this size is handled at once; more goes to a blocking thread, since a megabyte
/// takes tens of milliseconds that other requests of the thread would wait.
const INLINE: usize = 32 << 10;

/// The largest window of zstd: what a decoder should support (RFC 8878, section 3.1.1.1.2).
/// A frame may ask for gigabytes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// zlib.
    Deflate,
    /// zstd.
    Zstd,
    /// brotli.
    Brotli,
}

/// Compresses, with the usual level of each format (6, 6, 3, 5).
pub async fn compress(format: Format, data: Vec<u8>) -> Result<Vec<u8>> {
    run(data.len(), move || compress_here(format, &data)).await
}

/// Decompresses at most `max` bytes ([`MAX_OUTPUT`] if that is less). `compression.too-large`,
/// `compression.invalid`.
pub async fn decompress(format: Format, data: Vec<u8>, max: u64) -> Result<Vec<u8>> {
    let max = max.min(MAX_OUTPUT);
    // What comes out is what takes the time.
    let size = usize::try_from(max).unwrap_or(usize::MAX).min(data.len().saturating_mul(4));
    run(size, move || decompress_here(format, &data, max)).await
}

async fn run(
    size: usize,
    work: impl FnOnce() -> Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>> {
    if size <= INLINE {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| codes::INTERNAL.error("compression failed"))?
}

fn compress_here(format: Format, data: &[u8]) -> Result<Vec<u8>> {
    let made: io::Result<Vec<u8>> = match format {
        Format::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Format::Deflate => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Format::Zstd => zstd::stream::encode_all(data, 3),
        Format::Brotli => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorReader::new(data, 4096, 5, 22);
            encoder.read_to_end(&mut out).map(|_| out)
        }
    };
    made.map_err(|_| codes::INTERNAL.error("compression failed"))
}

fn decompress_here(format: Format, mut data: &[u8], max: u64) -> Result<Vec<u8>> {
    match format {
        // Several members are one file (RFC 1952, section 2.2).
        Format::Gzip => drain(flate2::bufread::MultiGzDecoder::new(data), max),
        Format::Deflate => {
            let out = drain(flate2::bufread::ZlibDecoder::new(&mut data), max)?;
            if data.is_empty() { Ok(out) } else { Err(invalid()) }
        }
        Format::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(data).map_err(|_| invalid())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| invalid())?;
            drain(decoder, max)
        }
        Format::Brotli => {
            // The writer, unlike the reader, tells how much of the data was the stream's.
            let mut out = Limited { out: Vec::new(), max, over: false };
            let mut decoder = brotli::DecompressorWriter::new(&mut out, 4096);
            let whole = decoder.write(data).is_ok_and(|taken| taken == data.len())
                && decoder.close().is_ok();
            drop(decoder);
            match out {
                Limited { over: true, .. } => Err(too_large(max)),
                Limited { out, .. } if whole => Ok(out),
                Limited { .. } => Err(invalid()),
            }
        }
    }
}

/// Takes at most `max` bytes.
struct Limited {
    out: Vec<u8>,
    max: u64,
    over: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.over |= (self.out.len() + bytes.len()) as u64 > self.max;
        if self.over {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(mut from: impl Read, max: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(out),
            Ok(size) if (out.len() + size) as u64 > max => {
                return Err(too_large(max));
            }
            Ok(size) => out.extend_from_slice(&chunk[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(invalid()),
        }
    }
}

fn too_large(max: u64) -> Error {
    codes::COMPRESSION_TOO_LARGE.error(format!("the decompressed data is larger than {max} bytes"))
}

fn invalid() -> Error {
    codes::COMPRESSION_INVALID.error("the data is damaged or of another format")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 4] = [Format::Gzip, Format::Deflate, Format::Zstd, Format::Brotli];

    /// Bytes that compress a little (xorshift, three quarters of the bits).
    fn noise(size: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state & 0x3f) as u8
        };
        (0..size).map(next).collect()
    }

    #[tokio::test]
    async fn what_was_compressed_comes_back() {
        for format in FORMATS {
            for data in [Vec::new(), b"hello".to_vec(), vec![7; 100_000], noise(200_000)] {
                let small = compress(format, data.clone()).await.unwrap();
                let size = data.len() as u64;
                assert!(size < 100 || small.len() < data.len(), "{format:?}");
                assert_eq!(decompress(format, small.clone(), size).await.unwrap(), data);
                if size > 0 {
                    let error = decompress(format, small, size - 1).await.unwrap_err();
                    assert!(codes::COMPRESSION_TOO_LARGE.is(&error), "{format:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn damaged_data_is_refused() {
        for format in FORMATS {
            let good = compress(format, noise(5000)).await.unwrap();
            let (cut, mut longer) = (good[..good.len() - 3].to_vec(), good.clone());
            longer.extend_from_slice(b"rest");
            for (bad, what) in [(cut, "cut"), (b"nonsense".to_vec(), "nonsense")] {
                let error = decompress(format, bad, 1 << 20).await.unwrap_err();
                assert!(codes::COMPRESSION_INVALID.is(&error), "{format:?} {what}: {error}");
            }
            let error = decompress(format, longer, 1 << 20).await.map(|out| out.len());
            assert!(error.is_err(), "{format:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        for format in FORMATS {
            let bomb = compress(format, vec![0; 32 << 20]).await.unwrap();
            assert!(bomb.len() < 256 << 10, "{format:?}: {}", bomb.len());
            let error = decompress(format, bomb, 1 << 20).await.unwrap_err();
            assert!(codes::COMPRESSION_TOO_LARGE.is(&error), "{format:?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_asks_for_a_huge_window_is_refused() {
        // Magic number, no single segment, window of 2 GiB (exponent 21).
        let frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        let error = decompress(Format::Zstd, frame, 1 << 20).await.unwrap_err();
        assert!(codes::COMPRESSION_INVALID.is(&error));
    }
}
