//! A request taken apart.

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;

/// A request with its path and query decoded.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path as sent.
    pub(crate) path: String,
    /// The query as sent.
    pub(crate) raw_query: String,
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) token: Option<String>,
    pub(crate) body: Bytes,
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Splits a path first and decodes after: a table's name may hold an encoded slash.
fn segments(path: &str) -> Vec<String> {
    path.trim_end_matches('/').split('/').skip(1).map(decode).collect()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let part = part.replace('+', " ");
            let (key, value) = part.split_once('=').unwrap_or((&part, ""));
            (decode(key), decode(value))
        })
        .collect()
}

impl Call {
    pub(crate) fn new(
        method: Method,
        path: &str,
        query: &str,
        token: Option<String>,
        body: Bytes,
    ) -> Self {
        Self {
            method,
            path: path.to_owned(),
            raw_query: query.to_owned(),
            segments: segments(path),
            query: pairs(query),
            token,
            body,
        }
    }

    /// The id of the base that the path names.
    pub(crate) fn base(&self) -> Option<&str> {
        let segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        let id = match segments.as_slice() {
            ["v0", "meta", "bases", id, ..] | ["v0", "bases", id, ..] | ["v0", id, ..] => *id,
            _ => return None,
        };
        crate::ids::is_id(id, "app").then_some(id)
    }

    /// The last value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter, with or without brackets.
    pub(crate) fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let list = self.query.iter().filter(move |(key, _)| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        });
        list.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        let path = "/v0/appAAAAAAAAAAAAAA/Q%2FA%20+%25/";
        let query = "records%5B%5D=rec1&records[]=rec2&a=x+y%2B&&b";
        let call = Call::new(Method::GET, path, query, None, Bytes::new());
        assert_eq!(call.segments, ["v0", "appAAAAAAAAAAAAAA", "Q/A +%"]);
        assert_eq!(call.base(), Some("appAAAAAAAAAAAAAA"));
        assert_eq!(call.params("records").collect::<Vec<_>>(), ["rec1", "rec2"]);
        assert_eq!(call.param("a"), Some("x y+"));
        assert_eq!(call.param("b"), Some(""));
    }
}
