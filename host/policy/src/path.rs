//! Paths in the one form that policies look at and that is forwarded.

use std::borrow::Cow;

use crate::mesh::PathNormalization;

/// The path must be answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPath {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// It has `%00`.
    #[error("the path has `%00`")]
    Null,
}

/// The path as it is decided on and forwarded (Istio: pilot/pkg/networking/core/
/// listener_builder.go; cases in tests/integration/security/normalization_test.go). `path` has no
/// query. Percent escapes are decoded at most once, and normalizing what was normalized changes
/// nothing.
pub fn normalize(path: &str, mode: PathNormalization) -> Result<Cow<'_, str>, BadPath> {
    let path = path.split_once('#').map_or(path, |(path, _fragment)| path);
    if path == "*" {
        // `OPTIONS *` asks the server, not a resource of it.
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    if path.contains("%00") {
        return Err(BadPath::Null);
    }
    let (merge, decode) = match mode {
        PathNormalization::None => return Ok(Cow::Borrowed(path)),
        PathNormalization::Base => (false, false),
        PathNormalization::MergeSlashes => (true, false),
        PathNormalization::DecodeAndMergeSlashes => (true, true),
    };
    let touched =
        path.contains(['%', '\\']) || path.contains("/.") || (merge && path.contains("//"));
    if !touched {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path, decode);
    let plain = remove_dot_segments(&decoded);
    let result = if merge { merge_slashes(&plain) } else { plain };
    Ok(if result == path { Cow::Borrowed(path) } else { Cow::Owned(result) })
}

/// Decodes the escapes of unreserved characters (RFC 3986, section 2.3), of slashes if asked to,
/// and makes `\` a slash.
fn decode_unreserved(path: &str, slashes: bool) -> String {
    let bytes = path.as_bytes();
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let at = path.len() - rest.len();
        let (result, length) = match c {
            '\\' => ('/', 1),
            '%' => match escape(&bytes[at..]) {
                Some(b'/' | b'\\') if slashes => ('/', 3),
                Some(byte) if is_unreserved(byte) && !completes_escape(&decoded, byte) => {
                    (char::from(byte), 3)
                }
                _ => ('%', 1),
            },
            other => (other, other.len_utf8()),
        };
        decoded.push(result);
        rest = &rest[length..];
    }
    decoded
}

/// The byte that an escape at the start of this stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [b'%', high, low, ..] = bytes else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether this character, put behind what was decoded, would make an escape of a `%` that stood
/// for itself: decoding would then not be done once.
fn completes_escape(decoded: &str, byte: u8) -> bool {
    byte.is_ascii_hexdigit()
        && match decoded.as_bytes() {
            [.., b'%'] => true,
            [.., b'%', digit] => digit.is_ascii_hexdigit(),
            _ => false,
        }
}

/// RFC 3986, section 5.2.4, for a path that begins with `/`.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        // What a dot segment at the end names is a folder.
        if last {
            kept.push("");
        }
    }
    let mut plain = String::with_capacity(path.len());
    for segment in kept {
        plain.push('/');
        plain.push_str(segment);
    }
    plain
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [PathNormalization; 4] = [
        PathNormalization::None,
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ];

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        for path in ["/", "/a/b", "/a/b/", "/a.b/~c", "*"] {
            for mode in ALL {
                assert!(matches!(normalize(path, mode), Ok(Cow::Borrowed(same)) if same == path));
            }
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for (path, error) in [
            ("", BadPath::NotAbsolute),
            ("a", BadPath::NotAbsolute),
            ("#/a", BadPath::NotAbsolute),
            ("/a%00", BadPath::Null),
        ] {
            for mode in ALL {
                assert_eq!(normalize(path, mode), Err(error), "{path}");
            }
        }
    }

    /// All escapes, as Istio's test has them.
    #[test]
    fn only_escapes_of_unreserved_characters_and_slashes_are_decoded() {
        for byte in 1..=u8::MAX {
            let path = format!("/admin%{byte:02x}");
            let expect = match byte {
                b'/' | b'\\' => "/admin/".to_owned(),
                _ if is_unreserved(byte) => format!("/admin{}", char::from(byte)),
                _ => path.clone(),
            };
            let normal = normalize(&path, PathNormalization::DecodeAndMergeSlashes).unwrap();
            assert_eq!(normal, expect);
        }
    }

    #[test]
    fn a_stray_percent_sign_does_not_lead_to_a_second_decoding() {
        for path in ["/%%330", "/%3%330", "/%%32%66", "/%", "/%3", "/%zz", "/%%%32%65"] {
            for mode in ALL {
                let once = normalize(path, mode).unwrap();
                assert_eq!(normalize(&once, mode).unwrap(), once, "{path}");
            }
        }
    }
}
