//! What a request needs: a permission on a base, and of a limited token a scope.

/// What a path of Airtable's API needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access<'a> {
    /// The base that the permission is needed on; none for what is about the user alone.
    pub(crate) base: Option<&'a str>,
    /// The permission.
    pub(crate) action: &'static str,
    /// The scope that a limited token must have; empty if every token may.
    pub(crate) scope: &'static str,
}

const RECORDS_READ: &str = "data.records:read";
const RECORDS_WRITE: &str = "data.records:write";
const COMMENTS_READ: &str = "data.recordComments:read";
const COMMENTS_WRITE: &str = "data.recordComments:write";
const SCHEMA_READ: &str = "schema.bases:read";
const SCHEMA_WRITE: &str = "schema.bases:write";
const WEBHOOKS: &str = "webhook:manage";
const EVERYTHING: &str = "*";

/// What a request to `/v0` needs; none for what Airtable does not have. Paths are compared as
/// they were sent: a name with an encoded slash is one segment.
pub(crate) fn of_airtable<'a>(method: &str, path: &'a str) -> Option<Access<'a>> {
    let path = path.strip_prefix("/v0/")?;
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    if segments.len() > 7 || segments.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    let method = if method == "HEAD" { "GET" } else { method };
    let on = |base: &'a str, action, scope| {
        is_base(base).then_some(Access { base: Some(base), action, scope })
    };
    let own = |action, scope| Some(Access { base: None, action, scope });
    match (method, segments.as_slice()) {
        ("GET", ["meta", "whoami"]) => own("", ""),
        ("GET", ["meta", "bases"]) => own("", SCHEMA_READ),
        ("GET", ["meta", "bases", base] | ["meta", "bases", base, "tables"]) => {
            on(base, "schema.read", SCHEMA_READ)
        }
        (
            "POST" | "PATCH",
            ["meta", "bases", base, "tables"]
            | ["meta", "bases", base, "tables", _]
            | ["meta", "bases", base, "tables", _, "fields"],
        )
        | ("PATCH", ["meta", "bases", base, "tables", _, "fields", _]) => {
            on(base, "schema.update", SCHEMA_WRITE)
        }
        (_, ["meta", ..]) => None,
        ("GET", ["bases", base, "webhooks", ..]) => on(base, "webhook.read", WEBHOOKS),
        ("POST" | "DELETE", ["bases", base, "webhooks", ..]) => {
            on(base, "webhook.manage", WEBHOOKS)
        }
        ("GET", [base, _, _, "comments"]) => on(base, "comment.read", COMMENTS_READ),
        ("POST", [base, _, _, "comments"]) => on(base, "comment.create", COMMENTS_WRITE),
        // Airtable knows one author, the connection's user, so whose a comment is cannot be told.
        ("PATCH" | "DELETE", [base, _, _, "comments", _]) => {
            on(base, "comment.delete", COMMENTS_WRITE)
        }
        ("GET", [base, _] | [base, _, _]) | ("POST", [base, _, "listRecords"]) => {
            on(base, "record.read", RECORDS_READ)
        }
        ("POST", [base, _]) => on(base, "record.create", RECORDS_WRITE),
        ("PATCH" | "PUT", [base, _] | [base, _, _])
        | ("POST", [base, _, _, "uploadAttachment"]) => on(base, "record.update", RECORDS_WRITE),
        ("DELETE", [base, _] | [base, _, _]) => on(base, "record.delete", RECORDS_WRITE),
        _ => None,
    }
}

fn is_base(id: &str) -> bool {
    id.len() == 17 && id.starts_with("app") && id.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// The scope that a limited token needs elsewhere; none where such tokens may do nothing. Without
/// this a token that may read records could make itself one that may do all.
pub(crate) fn scope_of(method: &str, path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("/api/v1/bases")?;
    let reads = matches!(method, "GET" | "HEAD");
    let part = rest.split('/').nth(4);
    Some(match (part, reads) {
        (Some("records"), true) => RECORDS_READ,
        (Some("records"), false) => RECORDS_WRITE,
        (_, true) => SCHEMA_READ,
        (_, false) => SCHEMA_WRITE,
    })
}

/// Whether a token with these scopes may do what needs this one. `needed` is none where only
/// unlimited tokens may.
pub(crate) fn allows(scopes: &[String], needed: Option<&str>) -> bool {
    let has = |scope: &str| scopes.iter().any(|s| s == scope);
    has(EVERYTHING) || needed.is_some_and(|needed| needed.is_empty() || has(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_airtables_paths_need() {
        const B: &str = "appAbCdEfGhIjKlMn";
        let rows = [
            ("GET", "/v0/{}/T", "record.read"),
            ("HEAD", "/v0/{}/T", "record.read"),
            ("GET", "/v0/{}/T/", "record.read"),
            ("GET", "/v0/{}/a%2Fb/rec1", "record.read"),
            ("POST", "/v0/{}/T/listRecords", "record.read"),
            ("POST", "/v0/{}/T", "record.create"),
            ("POST", "/v0/{}/T/", "record.create"),
            ("PATCH", "/v0/{}/T", "record.update"),
            ("PUT", "/v0/{}/T/rec1", "record.update"),
            ("DELETE", "/v0/{}/T", "record.delete"),
            ("DELETE", "/v0/{}/T/rec1", "record.delete"),
            ("POST", "/v0/{}/rec1/Files/uploadAttachment", "record.update"),
            ("GET", "/v0/{}/T/rec1/comments", "comment.read"),
            ("POST", "/v0/{}/T/rec1/comments", "comment.create"),
            ("DELETE", "/v0/{}/T/rec1/comments/com1", "comment.delete"),
            ("GET", "/v0/meta/bases/{}/tables", "schema.read"),
            ("GET", "/v0/meta/bases/{}", "schema.read"),
            ("POST", "/v0/meta/bases/{}/tables", "schema.update"),
            ("PATCH", "/v0/meta/bases/{}/tables/tbl1", "schema.update"),
            ("POST", "/v0/meta/bases/{}/tables/tbl1/fields", "schema.update"),
            ("PATCH", "/v0/meta/bases/{}/tables/tbl1/fields/fld1", "schema.update"),
            ("GET", "/v0/bases/{}/webhooks", "webhook.read"),
            ("GET", "/v0/bases/{}/webhooks/ach1/payloads", "webhook.read"),
            ("POST", "/v0/bases/{}/webhooks/ach1/refresh", "webhook.manage"),
            ("DELETE", "/v0/bases/{}/webhooks/ach1", "webhook.manage"),
        ];
        for (method, pattern, action) in rows {
            let path = pattern.replace("{}", B);
            let access = of_airtable(method, &path).unwrap_or_else(|| panic!("{method} {path}"));
            assert_eq!((access.base, access.action), (Some(B), action), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_airtables_needs_nothing_and_gets_nothing() {
        for (method, path) in [
            ("GET", "/v0"),
            ("GET", "/v0/"),
            ("GET", "/v0/base/T"),
            ("GET", "/v0/app%41bCdEfGhIjKlM/T"),
            ("GET", "/v0//appAbCdEfGhIjKlMn/T"),
            ("GET", "/v0/appAbCdEfGhIjKlMn"),
            ("PATCH", "/v0/appAbCdEfGhIjKlMn/T/rec1/comments"),
            ("DELETE", "/v0/meta/bases/appAbCdEfGhIjKlMn"),
            ("POST", "/v0/meta/bases"),
            ("TRACE", "/v0/appAbCdEfGhIjKlMn/T"),
            ("GET", "/v0/appAbCdEfGhIjKlMn/T/rec1/x/y/z/v/w"),
        ] {
            assert_eq!(of_airtable(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_limited_token_is_limited_everywhere() {
        let scopes = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let reader = scopes(&["data.records:read"]);
        let rows = [
            (scopes(&["*"]), None, true),
            (reader.clone(), Some("data.records:read"), true),
            (reader.clone(), Some("data.records:write"), false),
            (reader.clone(), Some(""), true),
            (reader, None, false),
            (vec![], None, false),
        ];
        for (scopes, needed, expected) in rows {
            assert_eq!(allows(&scopes, needed), expected, "{scopes:?} {needed:?}");
        }
        for (method, path, needed) in [
            ("GET", "/api/v1/bases", Some(SCHEMA_READ)),
            ("GET", "/api/v1/bases/app1/tables/T/records", Some(RECORDS_READ)),
            ("POST", "/api/v1/bases/app1/tables/T/records", Some(RECORDS_WRITE)),
            ("GET", "/api/v1/bases/app1/tables", Some(SCHEMA_READ)),
            ("POST", "/api/v1/auth/tokens", None),
            ("GET", "/api/v1/users/me", None),
        ] {
            assert_eq!(scope_of(method, path), needed, "{method} {path}");
        }
    }
}
