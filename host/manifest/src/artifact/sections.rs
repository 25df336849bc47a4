//! The outermost layer of the binary format: a header, then sections of an id, a length and bytes.
//!
//! Source: the component model's `Binary.md` and section 5.5 of the core specification.

use std::ops::Range;

use super::{ArtifactError, MAX_FILE};

/// `\0asm`, version 13, layer 1.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
const CUSTOM: u8 = 0;
/// More sections than any tool makes.
const MAX_SECTIONS: usize = 100_000;

/// A section of the component itself, not of what is nested in it.
#[derive(Debug)]
pub(super) struct Section<'b> {
    /// With id and length.
    pub(super) range: Range<usize>,
    /// Name and content of a custom section.
    pub(super) custom: Option<(&'b str, &'b [u8])>,
}

/// The header, if it is that of a component.
pub(super) fn header(bytes: &[u8]) -> Result<&[u8], ArtifactError> {
    if bytes.len() > MAX_FILE {
        return Err(ArtifactError::TooLarge { size: bytes.len() });
    }
    match bytes.get(..COMPONENT.len()) {
        Some(header) if header == COMPONENT => Ok(header),
        Some(header) if header == CORE_MODULE => Err(ArtifactError::CoreModule),
        Some(header) if header.starts_with(b"\0asm") => Err(ArtifactError::UnknownVersion),
        None if b"\0asm".starts_with(bytes.get(..4).unwrap_or(bytes)) => {
            Err(ArtifactError::damaged(format!("it ends after {} bytes", bytes.len())))
        }
        _ => Err(ArtifactError::NotWasm),
    }
}

/// The first section after the header.
pub(super) fn first(bytes: &[u8]) -> Result<Section<'_>, ArtifactError> {
    section(bytes, COMPONENT.len())
}

/// All sections after the header.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, ArtifactError> {
    let mut sections = Vec::new();
    let mut at = COMPONENT.len();
    while at < bytes.len() {
        let section = section(bytes, at)?;
        at = section.range.end;
        sections.push(section);
        if sections.len() > MAX_SECTIONS {
            return Err(ArtifactError::damaged("it has too many sections".to_owned()));
        }
    }
    Ok(sections)
}

fn section(bytes: &[u8], start: usize) -> Result<Section<'_>, ArtifactError> {
    let cut = || ArtifactError::damaged(format!("the section at byte {start} is cut off"));
    let id = *bytes.get(start).ok_or_else(cut)?;
    let (length, content) = leb128(bytes, start + 1).ok_or_else(cut)?;
    let range = content..content.checked_add(length).ok_or_else(cut)?;
    let data = bytes.get(range.clone()).ok_or_else(cut)?;
    let custom = if id == CUSTOM {
        let (name_length, name_start) = leb128(data, 0).ok_or_else(cut)?;
        let (name, data) =
            data.get(name_start..).and_then(|d| d.split_at_checked(name_length)).ok_or_else(cut)?;
        let not_text = |_| {
            ArtifactError::damaged(format!("the name of the section at byte {start} is not text"))
        };
        Some((std::str::from_utf8(name).map_err(not_text)?, data))
    } else {
        None
    };
    Ok(Section { range: start..range.end, custom })
}

/// An unsigned 32-bit number and where it ends.
fn leb128(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.get(start..)?.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, start + index + 1));
        }
    }
    None
}

/// Adds a custom section.
pub(super) fn append(
    to: &mut Vec<u8>,
    name: &'static str,
    data: &[u8],
) -> Result<(), ArtifactError> {
    check_size(name, data.len())?;
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    write_leb128(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    to.push(CUSTOM);
    write_leb128(to, content.len());
    to.append(&mut content);
    Ok(())
}

fn write_leb128(to: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

/// What one of our sections may hold.
pub(super) fn check_size(name: &'static str, size: usize) -> Result<(), ArtifactError> {
    let max = match name {
        super::BUILD => 4 << 10,
        super::MANIFEST => crate::manifest::MAX_TEXT,
        super::MIGRATIONS => 16 << 20,
        _ => 4 << 20,
    };
    if size > max {
        return Err(ArtifactError::section(
            name,
            format!("{size} bytes are more than the {max} that are read"),
        ));
    }
    Ok(())
}
