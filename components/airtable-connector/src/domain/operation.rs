//! What a request to Airtable's API asks for.

/// An operation on a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    /// The base.
    pub(crate) base: &'a str,
    /// Table by id or name, as it was sent (percent-encoded).
    pub(crate) table: &'a str,
    /// What is done.
    pub(crate) kind: Kind,
    /// The permission it needs.
    pub(crate) action: &'static str,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads records or comments; may be remembered.
    ReadRecords,
    /// Reads the schema; may be remembered.
    ReadSchema,
    /// Reads what must not be remembered: a webhook's payloads are asked for when there are new.
    ReadFresh,
    /// Makes records.
    Create,
    /// Changes records, or makes them if the request says `performUpsert`.
    Update,
    /// Deletes records.
    Delete,
    /// Adds a file to a cell.
    Upload,
    /// Changes something else of which readers must learn: schema, comments.
    Change,
    /// Changes what no remembered answer shows.
    ChangeApart,
}

impl Kind {
    /// Whether it only reads.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::ReadRecords | Self::ReadSchema | Self::ReadFresh)
    }
}

/// The operation of a request; none for what Airtable does not have. Segments are compared as
/// they were sent: a table's name with an encoded slash is one of them.
pub(crate) fn parse<'a>(method: &str, path: &'a str) -> Option<Operation<'a>> {
    let path = path.strip_prefix("/v0/")?;
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    if segments.len() > 7 || segments.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    let method = if method == "HEAD" { "GET" } else { method };
    let on = |base: &'a str, table: &'a str, kind, action| {
        is_base(base).then_some(Operation { base, table, kind, action })
    };
    match (method, segments.as_slice()) {
        ("GET", ["meta", "bases", base] | ["meta", "bases", base, "tables"]) => {
            on(base, "", Kind::ReadSchema, "schema.read")
        }
        (
            "POST" | "PATCH",
            ["meta", "bases", base, "tables"]
            | ["meta", "bases", base, "tables", _]
            | ["meta", "bases", base, "tables", _, "fields"]
            | ["meta", "bases", base, "tables", _, "fields", _],
        ) => on(base, "", Kind::Change, "schema.update"),
        (_, ["meta", ..]) => None,
        ("GET", ["bases", base, "webhooks", ..]) => on(base, "", Kind::ReadFresh, "webhook.read"),
        ("POST" | "DELETE", ["bases", base, "webhooks", ..]) => {
            on(base, "", Kind::ChangeApart, "webhook.manage")
        }
        ("POST", [base, record, _, "uploadAttachment"]) => {
            on(base, record, Kind::Upload, "record.update")
        }
        ("GET", [base, table, _, "comments"]) => on(base, table, Kind::ReadRecords, "comment.read"),
        ("POST", [base, table, _, "comments"]) => on(base, table, Kind::Change, "comment.create"),
        // Airtable knows one author, the connection's user, so whose a comment is cannot be told.
        ("PATCH" | "DELETE", [base, table, _, "comments", _]) => {
            on(base, table, Kind::Change, "comment.delete")
        }
        ("GET", [base, table] | [base, table, _]) | ("POST", [base, table, "listRecords"]) => {
            on(base, table, Kind::ReadRecords, "record.read")
        }
        ("POST", [base, table]) => on(base, table, Kind::Create, "record.create"),
        ("PATCH" | "PUT", [base, table] | [base, table, _]) => {
            on(base, table, Kind::Update, "record.update")
        }
        ("DELETE", [base, table] | [base, table, _]) => {
            on(base, table, Kind::Delete, "record.delete")
        }
        _ => None,
    }
}

/// Whether this is written as the id of a base.
pub(crate) fn is_base(id: &str) -> bool {
    id.len() == 17 && id.starts_with("app") && id.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// Path and query with the order of parameters that mean the same made one. Airtable's parameters
/// carry their index where order matters (`sort[0][field]`).
pub(crate) fn normal_form(path: &str, query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    format!("{}?{}", path.trim_end_matches('/'), pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "appAbCdEfGhIjKlMn";

    #[test]
    fn operations() {
        let rows = [
            ("GET", "/v0/{}/a%2Fb", Kind::ReadRecords, "a%2Fb", "record.read"),
            ("GET", "/v0/{}/T/rec1", Kind::ReadRecords, "T", "record.read"),
            ("POST", "/v0/{}/T/listRecords", Kind::ReadRecords, "T", "record.read"),
            ("POST", "/v0/{}/T/", Kind::Create, "T", "record.create"),
            ("PATCH", "/v0/{}/T", Kind::Update, "T", "record.update"),
            ("PUT", "/v0/{}/T/rec1", Kind::Update, "T", "record.update"),
            ("DELETE", "/v0/{}/T", Kind::Delete, "T", "record.delete"),
            ("POST", "/v0/{}/rec1/Files/uploadAttachment", Kind::Upload, "rec1", "record.update"),
            ("GET", "/v0/{}/T/rec1/comments", Kind::ReadRecords, "T", "comment.read"),
            ("DELETE", "/v0/{}/T/rec1/comments/com1", Kind::Change, "T", "comment.delete"),
            ("GET", "/v0/meta/bases/{}/tables", Kind::ReadSchema, "", "schema.read"),
            ("PATCH", "/v0/meta/bases/{}/tables/t/fields/f", Kind::Change, "", "schema.update"),
            ("GET", "/v0/bases/{}/webhooks/ach1/payloads", Kind::ReadFresh, "", "webhook.read"),
            ("POST", "/v0/bases/{}/webhooks", Kind::ChangeApart, "", "webhook.manage"),
        ];
        for (method, pattern, kind, table, action) in rows {
            let path = pattern.replace("{}", BASE);
            let expected = Operation { base: BASE, table, kind, action };
            assert_eq!(parse(method, &path), Some(expected), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v0"),
            ("GET", "/v0/meta/bases"),
            ("DELETE", "/v0/meta/bases/appAbCdEfGhIjKlMn"),
            ("GET", "/v0/app/T"),
            ("GET", "/v0/appAbCdEfGhIjKlMn//rec"),
            ("PATCH", "/v0/bases/appAbCdEfGhIjKlMn/webhooks"),
        ] {
            assert_eq!(parse(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn the_same_question_is_written_one_way() {
        let one = normal_form("/v0/a/T/", "fields[]=B&fields[]=A&pageSize=10");
        assert_eq!(one, normal_form("/v0/a/T", "pageSize=10&fields[]=A&fields[]=B"));
        assert_ne!(one, normal_form("/v0/a/T", "pageSize=11&fields[]=A&fields[]=B"));
        assert_eq!(normal_form("/v0/a/T", ""), "/v0/a/T?");
    }
}
