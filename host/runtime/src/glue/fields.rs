//! Header fields, between the contract's pairs and [`HeaderMap`].

use airhost_core::{Error, codes};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Most fields of a response or an outgoing request.
const MAX_FIELDS: usize = 100;
/// Most bytes of their names and values together.
const MAX_BYTES: usize = 32 * 1024;

/// A field as guests know it.
pub(crate) type Field = (String, String);

/// The fields of a guest's response, with the code of a response that is not valid.
pub(crate) fn response_fields(fields: Vec<Field>) -> Result<HeaderMap, Error> {
    to_map(fields, |reason| {
        codes::RESPONSE_INVALID.error(format!("the response's headers: {reason}"))
    })
}

/// The fields of a guest's call.
pub(crate) fn request_fields(fields: Vec<Field>) -> Result<HeaderMap, Error> {
    to_map(fields, |reason| codes::CALL_INVALID.error(format!("the call's headers: {reason}")))
}

fn to_map(fields: Vec<Field>, fault: impl Fn(&str) -> Error) -> Result<HeaderMap, Error> {
    if fields.len() > MAX_FIELDS {
        return Err(fault("there are more than 100 fields"));
    }
    let mut size = 0;
    let mut map = HeaderMap::with_capacity(fields.len() + 2);
    for (name, value) in fields {
        size += name.len() + value.len();
        if size > MAX_BYTES {
            return Err(fault("they are larger than 32 KiB"));
        }
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(fault("a name is not valid"));
        };
        if is_connection_field(&name) {
            return Err(fault(&format!("`{name}` belongs to the connection")));
        }
        if is_hosts(&name) {
            continue;
        }
        let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) else {
            return Err(fault(&format!("the value of `{name}` is not valid")));
        };
        map.append(name, value);
    }
    Ok(map)
}

/// Fields of one connection (RFC 9110, section 7.6.1): not a guest's to set or to see forwarded.
pub(crate) fn is_connection_field(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || name == "keep-alive"
        || name == "proxy-connection"
        || name == "http2-settings"
}

/// Fields that the host makes from what it knows.
fn is_hosts(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::DATE || *name == header::HOST
}

/// All fields, repeated ones repeated.
pub(crate) fn to_fields(map: &HeaderMap) -> Vec<Field> {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// All values of a field joined by `, ` (RFC 9110, section 5.3).
pub(crate) fn joined(map: &HeaderMap, name: &str) -> Option<String> {
    let mut values = map.get_all(name).iter();
    let mut all = text(values.next()?);
    for value in values {
        all.push_str(", ");
        all.push_str(&text(value));
    }
    Some(all)
}

/// A value as text: UTF-8, or else ISO-8859-1 (RFC 9110, section 5.5).
pub(crate) fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_not_the_guests_is_refused_or_left_out() {
        let map = response_fields(fields(&[
            ("X-A", "1"),
            ("x-a", "2"),
            ("content-length", "9"),
            ("date", "x"),
        ]))
        .unwrap();
        assert_eq!(map.len(), 2);
        assert_eq!(joined(&map, "x-a").as_deref(), Some("1, 2"));
        for bad in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("a b", "1"),
            ("x", "a\nb"),
            ("", ""),
        ] {
            let error = response_fields(fields(&[bad])).unwrap_err();
            assert_eq!(error.code, "response.invalid", "{bad:?}");
            assert_eq!(request_fields(fields(&[bad])).unwrap_err().code, "call.invalid");
        }
        assert!(response_fields(fields(&[("a", "b"); 101])).is_err());
        assert!(response_fields(fields(&[("a", &"b".repeat(40_000))])).is_err());
    }

    #[test]
    fn a_value_that_is_not_utf8_is_latin1() {
        assert_eq!(text(&HeaderValue::from_bytes(b"caf\xe9").unwrap()), "caf\u{e9}");
        assert_eq!(text(&HeaderValue::from_bytes("caf\u{e9}".as_bytes()).unwrap()), "caf\u{e9}");
    }
}
