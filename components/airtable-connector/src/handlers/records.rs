//! Records in the platform's own style: any number at once, pages by cursor, problems as errors.

use sdk::{
    Error, Principal, Result, Schema,
    http::{Json, NoContent, Path, Query, Response, Routes, percent_encode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::access;
use crate::{
    airtable::Ask,
    changes,
    domain::{answer::Answer, connection::Connection, operation::Kind},
    responses::{self, Origin},
    store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "records";
    /// Lists records.
    GET "/api/v1/bases/{base}/tables/{table}/records" => list_records, errors [403, 429, 503];
    /// Makes up to 200 records.
    ///
    /// They go to Airtable ten at a time. If it refuses some after others were made, the answer
    /// is 207 and says from which on.
    POST "/api/v1/bases/{base}/tables/{table}/records" => create_records, errors [403, 429, 503];
    /// Changes up to 200 records; cells that are not named stay.
    PATCH "/api/v1/bases/{base}/tables/{table}/records" => update_records, errors [403, 429, 503];
    /// Replaces up to 200 records; cells that are not named are cleared.
    PUT "/api/v1/bases/{base}/tables/{table}/records" => replace_records, errors [403, 429, 503];
    /// Deletes up to 200 records.
    DELETE "/api/v1/bases/{base}/tables/{table}/records" => delete_records, errors [403, 429, 503];
    /// A record.
    GET "/api/v1/bases/{base}/tables/{table}/records/{record}" => get_record, errors [403, 503];
    /// Deletes a record.
    DELETE "/api/v1/bases/{base}/tables/{table}/records/{record}" => delete_record,
        errors [403, 429, 503];
};

/// Records that Airtable takes at once.
const BATCH: usize = 10;
/// Records that Airtable gives at once.
const PAGE: u64 = 100;

/// A record.
#[derive(Debug, Serialize, Deserialize, Schema)]
struct Record {
    /// Its id.
    #[schema(example = "recAbCdEfGhIjKlMn")]
    id: String,
    /// When it was made.
    #[serde(rename(deserialize = "createdTime"))]
    created_at: String,
    /// Its cells; empty ones are left out.
    #[serde(default)]
    fields: Map<String, Value>,
}

/// Which records.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Most records in the answer.
    #[serde(default = "all_of_a_page")]
    #[schema(min = 1, max = 200, example = 100)]
    limit: u64,
    /// `next_cursor` of the page before.
    #[schema(max_length = 200)]
    cursor: Option<String>,
    /// A formula that holds for them.
    #[schema(max_length = 16000, example = "{Number} > 3")]
    formula: Option<String>,
    /// A view they are in, whose order they are given in.
    #[schema(max_length = 200)]
    view: Option<String>,
    /// Fields to sort by; descending with `-` before the name.
    #[serde(default)]
    #[schema(max_items = 10)]
    sort: Vec<String>,
    /// Fields to give; all if none is named.
    #[serde(default)]
    #[schema(max_items = 500)]
    fields: Vec<String>,
    /// Names cells by the ids of their fields.
    #[serde(default)]
    by_field_id: bool,
}

fn all_of_a_page() -> u64 {
    PAGE
}

impl Listing {
    /// As Airtable's `listRecords` takes it, which knows no limit of length as a URL does.
    fn question(&self, size: u64, offset: Option<&str>) -> Value {
        let mut body = json!({"pageSize": size, "returnFieldsByFieldId": self.by_field_id});
        let mut set = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        };
        set("offset", offset);
        set("filterByFormula", self.formula.as_deref());
        set("view", self.view.as_deref());
        if !self.fields.is_empty() {
            body["fields"] = json!(self.fields);
        }
        if !self.sort.is_empty() {
            let sort = self.sort.iter().map(|name| match name.strip_prefix('-') {
                Some(name) => json!({"field": name, "direction": "desc"}),
                None => json!({"field": name, "direction": "asc"}),
            });
            body["sort"] = sort.collect();
        }
        body
    }
}

/// Records to be made.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct NewRecords {
    /// The records.
    #[schema(min_items = 1, max_items = 200)]
    records: Vec<NewRecord>,
    /// Whether Airtable may turn text into what the fields take.
    #[serde(default)]
    typecast: bool,
}

/// A record to be made.
#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct NewRecord {
    /// Its cells.
    fields: Map<String, Value>,
}

/// Records to be changed.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct ChangedRecords {
    /// The records.
    #[schema(min_items = 1, max_items = 200)]
    records: Vec<ChangedRecord>,
    /// Whether Airtable may turn text into what the fields take.
    #[serde(default)]
    typecast: bool,
    /// Fields that name a record where `id` does not: what none matches is made.
    #[serde(default)]
    #[schema(max_items = 3)]
    upsert_on: Vec<String>,
}

/// A record to be changed.
#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct ChangedRecord {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 40)]
    id: Option<String>,
    /// Its cells.
    fields: Map<String, Value>,
}

/// Records to be deleted.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Deletion {
    /// Their ids; the parameter repeated.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 200)]
    ids: Vec<String>,
}

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Written {
    data: Vec<Value>,
    /// Ids of those that an upsert has made.
    created: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Failed>,
}

/// Where it ended.
#[derive(Debug, Serialize)]
struct Failed {
    /// Index of the first record that was not written.
    from: usize,
    status: u16,
    code: String,
    detail: String,
}

/// A table that the caller may do something with.
struct Place {
    principal: Principal,
    connection: Connection,
    /// Under which its records are.
    path: String,
    table: String,
}

fn place(principal: Principal, base: &str, table: &str, action: &str) -> Result<Place> {
    let connection = store::of_base(base)?;
    access::require_on_base(action, base)?;
    let table = percent_encode(table);
    Ok(Place { principal, connection, path: format!("/v0/{base}/{table}"), table })
}

impl Place {
    fn read(&self, ask: &Ask, path: &str) -> Result<(Answer, Origin)> {
        responses::read(&self.connection, Kind::ReadRecords, ask, (path, ""), false)
    }

    fn write<T: DeserializeOwned>(&self, kind: Kind, ask: &Ask) -> Result<T> {
        ok(changes::write(&self.principal, &self.connection, kind, &self.table, ask)?)
    }

    /// Writes batch by batch. What came before a failure stays, and is told.
    fn write_all<T>(
        &self,
        kind: Kind,
        all: &[T],
        ask: impl Fn(&[T]) -> Result<Ask>,
    ) -> Result<Response> {
        let mut written = Written::default();
        for (nth, batch) in all.chunks(BATCH).enumerate() {
            match ask(batch).and_then(|ask| self.write::<Batch>(kind, &ask)) {
                Ok(done) => {
                    written.data.extend(done.records.into_iter().map(own));
                    written.created.extend(done.created_records);
                }
                Err(error) if nth == 0 => return Err(error),
                Err(error) => {
                    written.failed = Some(Failed {
                        from: nth * BATCH,
                        status: error.status(),
                        code: error.code().to_owned(),
                        detail: error.detail().to_owned(),
                    });
                    return Response::json(207, &written);
                }
            }
        }
        Response::json(if kind == Kind::Create { 201 } else { 200 }, &written)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    records: Vec<Map<String, Value>>,
    #[serde(default)]
    created_records: Vec<String>,
}

/// A record in the platform's names.
fn own(mut record: Map<String, Value>) -> Value {
    if let Some(created) = record.remove("createdTime") {
        record.insert("created_at".to_owned(), created);
    }
    Value::Object(record)
}

/// What a successful answer says; any other as an error of ours.
pub(super) fn ok<T: DeserializeOwned>(answer: Answer) -> Result<T> {
    if answer.is_success() {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| Error::bad_gateway(format!("Airtable's answer: {error}")));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let kind = said["error"]["type"].as_str().or(said["error"].as_str()).unwrap_or_default();
    let detail = said["error"]["message"].as_str().map_or_else(
        || format!("Airtable answered {} {kind}", answer.status).trim_end().to_owned(),
        str::to_owned,
    );
    let retry = answer.retry_after.and_then(|after| after.trim().parse::<u64>().ok());
    let error = match answer.status {
        // Unknown and out of the token's reach are one to Airtable.
        403 | 404 => Error::not_found("there is no such table or record within reach"),
        429 => Error::too_many_requests(detail, retry.unwrap_or(30).saturating_mul(1000)),
        503 => Error::unavailable(detail),
        500.. => Error::bad_gateway(detail),
        status @ 400.. => Error::new(status, "airtable.refused", detail),
        _ => Error::bad_gateway(detail),
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    if answer.status == 422 && !kind.is_empty() && kind.bytes().all(plain) {
        return Err(error.code_is(format!("airtable.{}", kind.to_ascii_lowercase())));
    }
    Err(error)
}

#[derive(Deserialize)]
struct Listed {
    records: Vec<Map<String, Value>>,
    offset: Option<String>,
}

fn list_records(
    principal: Principal,
    Path((base, table)): Path<(String, String)>,
    Query(listing): Query<Listing>,
) -> Result<Response> {
    let place = place(principal, &base, &table, "record.read")?;
    let path = format!("{}/listRecords", place.path);
    let mut records = Vec::new();
    let mut offset = listing.cursor.clone();
    let mut origin = Origin::Airtable;
    loop {
        let size = (listing.limit - records.len() as u64).min(PAGE);
        let question = listing.question(size, offset.as_deref());
        let ask = Ask::new("POST", &path, question.to_string().into_bytes());
        let (answer, from) = place.read(&ask, &path)?;
        // Of two pages the older one is what the client is to know of.
        origin = origin.max(from);
        let page: Listed = ok(answer)?;
        let got = page.records.len();
        records.extend(page.records.into_iter().map(own));
        offset = page.offset;
        if offset.is_none() || got == 0 || records.len() as u64 >= listing.limit {
            break;
        }
    }
    let page = json!({"data": records, "next_cursor": offset});
    Ok(origin.tell(Response::json(200, &page)?))
}

fn get_record(
    principal: Principal,
    Path((base, table, record)): Path<(String, String, String)>,
) -> Result<Json<Record>> {
    let place = place(principal, &base, &table, "record.read")?;
    let path = format!("{}/{}", place.path, percent_encode(&record));
    let (answer, _) = place.read(&Ask::new("GET", &path, Vec::new()), &path)?;
    ok(answer).map(Json)
}

fn create_records(
    principal: Principal,
    Path((base, table)): Path<(String, String)>,
    Json(input): Json<NewRecords>,
) -> Result<Response> {
    let place = place(principal, &base, &table, "record.create")?;
    place.write_all(Kind::Create, &input.records, |batch| {
        let body = json!({"records": batch, "typecast": input.typecast});
        Ok(Ask::new("POST", &place.path, body.to_string().into_bytes()))
    })
}

fn update_records(
    principal: Principal,
    Path((base, table)): Path<(String, String)>,
    Json(input): Json<ChangedRecords>,
) -> Result<Response> {
    change(principal, "PATCH", &base, &table, &input)
}

fn replace_records(
    principal: Principal,
    Path((base, table)): Path<(String, String)>,
    Json(input): Json<ChangedRecords>,
) -> Result<Response> {
    change(principal, "PUT", &base, &table, &input)
}

fn change(
    principal: Principal,
    method: &str,
    base: &str,
    table: &str,
    input: &ChangedRecords,
) -> Result<Response> {
    let place = place(principal, base, table, "record.update")?;
    if !input.upsert_on.is_empty() {
        access::require_on_base("record.create", base)?;
    } else if let Some(at) = input.records.iter().position(|record| record.id.is_none()) {
        return Err(Error::violation(format!("/records/{at}/id"), "is required without upsert_on"));
    }
    place.write_all(Kind::Update, &input.records, |batch| {
        let mut body = json!({"records": batch, "typecast": input.typecast});
        if !input.upsert_on.is_empty() {
            body["performUpsert"] = json!({"fieldsToMergeOn": input.upsert_on});
        }
        Ok(Ask::new(method, &place.path, body.to_string().into_bytes()))
    })
}

fn delete_records(
    principal: Principal,
    Path((base, table)): Path<(String, String)>,
    Query(input): Query<Deletion>,
) -> Result<Response> {
    let place = place(principal, &base, &table, "record.delete")?;
    place.write_all(Kind::Delete, &input.ids, |batch| {
        let ids: Vec<String> =
            batch.iter().map(|id| format!("records%5B%5D={}", percent_encode(id))).collect();
        Ok(Ask::new("DELETE", &format!("{}?{}", place.path, ids.join("&")), Vec::new()))
    })
}

fn delete_record(
    principal: Principal,
    Path((base, table, record)): Path<(String, String, String)>,
) -> Result<NoContent> {
    let place = place(principal, &base, &table, "record.delete")?;
    let path = format!("{}/{}", place.path, percent_encode(&record));
    place.write::<Value>(Kind::Delete, &Ask::new("DELETE", &path, Vec::new()))?;
    Ok(NoContent)
}
