//! Which header fields cross a border, and which never do.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Fields of one connection (RFC 9110, section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"];

/// What only proxies may say about the client's connection.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-real-ip",
];

/// Fields that other systems take for a verified identity. Nothing here reads them; they are
/// dropped so that no service behind us, old or new, can be told who somebody is.
const IDENTITY: [&str; 14] = [
    "x-authenticated-user",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-user",
    "x-internal-api-key",
    "x-jwt-payload",
    "x-principal",
    "x-remote-user",
    "x-tenant-id",
    "x-user-email",
    "x-user-id",
    "x-user-role",
    "x-user-roles",
    "x-workspace-id",
];

/// Prefixes that belong to the host and to what it stands in for.
const RESERVED_PREFIXES: [&str; 3] = ["x-airhost-", "x-envoy-", "x-principal-"];

/// Removes the fields of the connection. Answers the protocol that the message wants to upgrade
/// to, if it does.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let Some(first) = headers.get(header::CONNECTION) else {
        // Without `Connection` the others are rare: HTTP/2 forbids them all.
        for name in &HOP_BY_HOP[1..] {
            if *name != "te" {
                headers.remove(*name);
            }
        }
        keep_trailers_in_te(headers);
        return None;
    };
    // The common case names no further field.
    let simple = ["keep-alive", "close"]
        .iter()
        .any(|word| first.as_bytes().eq_ignore_ascii_case(word.as_bytes()));
    let mut wants_upgrade = false;
    if !simple {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            if name == header::UPGRADE {
                wants_upgrade = true;
            } else if !END_TO_END.contains(&name) {
                headers.remove(&name);
            }
        }
    }
    let protocol = headers.remove(header::UPGRADE).filter(|_| wants_upgrade);
    for name in HOP_BY_HOP {
        if name != "te" {
            headers.remove(name);
        }
    }
    keep_trailers_in_te(headers);
    protocol
}

/// Fields that a `Connection` option must not remove: whoever names them wants to smuggle.
const END_TO_END: [HeaderName; 7] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::CACHE_CONTROL,
    header::TE,
];

/// `TE: trailers` is the one value that may travel (RFC 9113, section 8.2.2).
fn keep_trailers_in_te(headers: &mut HeaderMap) {
    if headers.get(header::TE).is_some_and(|value| value != "trailers") {
        headers.remove(header::TE);
    }
}

/// Removes what would look like an identity. `trusted` is whether a configured proxy sent it,
/// whose word about the client's address is taken.
pub(crate) fn strip_identity(headers: &mut HeaderMap, trusted: bool) {
    let suspicious = |name: &HeaderName| {
        let name = name.as_str();
        if name == "remote-user" || (!trusted && name == "forwarded") {
            return true;
        }
        if !name.starts_with("x-") {
            return false;
        }
        IDENTITY.contains(&name)
            || (!trusted && FORWARDED.contains(&name))
            || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    // Nearly always there is none, and then nothing is allocated.
    if headers.keys().any(suspicious) {
        let names: Vec<HeaderName> =
            headers.keys().filter(|name| suspicious(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_connection_keeps_its_fields_to_itself() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "authorization"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "gzip"),
            ("authorization", "Bearer x"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut headers), None);
        assert_eq!(names(&headers), ["accept", "authorization"]);
    }

    #[test]
    fn an_upgrade_is_told_apart() {
        let mut headers =
            map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")]);
        assert_eq!(strip_hop_by_hop(&mut headers).unwrap(), "websocket");
        assert_eq!(names(&headers), ["sec-websocket-key"]);
        let mut headers = map(&[("upgrade", "h2c"), ("te", "trailers")]);
        assert_eq!(strip_hop_by_hop(&mut headers), None);
        assert_eq!(names(&headers), ["te"]);
    }

    #[test]
    fn nobody_says_who_they_are_in_a_header() {
        let fields = [
            ("x-forwarded-client-cert", "By=spiffe://x"),
            ("x-airhost-principal", "root"),
            ("x-user-id", "1"),
            ("x-tenant-id", "t"),
            ("remote-user", "root"),
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-api-key", "kept"),
        ];
        let mut headers = map(&fields);
        strip_identity(&mut headers, false);
        assert_eq!(names(&headers), ["x-api-key"]);
        let mut headers = map(&fields);
        strip_identity(&mut headers, true);
        assert_eq!(names(&headers), ["forwarded", "x-api-key", "x-forwarded-for"]);
    }
}
