//! Uses its stores, by path.

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    world: "pyairtable:service/http-service",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

use exports::pyairtable::service::handler::Guest;
use pyairtable::{
    context::cache,
    crypto::hash,
    service::{
        client,
        http::{BodyOut, Outgoing, Reply, Request, Responder},
    },
    storage::{
        blob, kv,
        sql::{self, Access, Value},
    },
    types::{errors::Error, http::Response},
};

struct Stores;

impl Guest for Stores {
    fn handle(request: Request, _: Responder) -> Result<Reply, Error> {
        let query = request.query().unwrap_or_default();
        let answer = match request.path().as_str() {
            "/insert" => {
                let tx = sql::begin(Access::Write)?;
                tx.execute("INSERT INTO notes (id, note) VALUES ($1, $2)", &[Value::Text(query.clone()), Value::Text("x".into())])?;
                let reply = Response { status: 201, headers: vec![("x-made".into(), query)], body: b"made".to_vec() };
                tx.commit(Some(&reply))?;
                return Ok(Reply::Whole(reply));
            }
            "/insert-and-drop" => {
                let tx = sql::begin(Access::Write)?;
                tx.execute("INSERT INTO notes (id, note) VALUES ($1, 'x')", &[Value::Text(query)])?;
                drop(tx);
                "dropped".to_owned()
            }
            "/insert-and-trap" => {
                let tx = sql::begin(Access::Write)?;
                tx.execute("INSERT INTO notes (id, note) VALUES ($1, 'x')", &[Value::Text(query)])?;
                core::arch::wasm32::unreachable()
            }
            "/call-in-transaction" => {
                let tx = sql::begin(Access::Write)?;
                let answer = client::call(&Outgoing {
                    method: "GET".into(),
                    url: "http://other/".into(),
                    headers: vec![],
                    body: BodyOut::None,
                    timeout_ms: None,
                    attrs: vec![],
                });
                tx.rollback()?;
                answer.err().map(|error| error.code).unwrap_or_default()
            }
            "/many-transactions" => {
                let mut open = Vec::new();
                loop {
                    match sql::begin(Access::Read) {
                        Ok(tx) => open.push(tx),
                        Err(error) => break format!("{} {}", open.len(), error.code),
                    }
                }
            }
            "/count" => {
                let rows = sql::query("SELECT count(*) FROM notes", &[])?;
                match &rows.rows[0][0] {
                    Value::Bigint(count) => count.to_string(),
                    other => format!("{other:?}"),
                }
            }
            "/sql-error" => sql::query("SELECT nonsense FROM nowhere", &[]).err().map(|error| error.code).unwrap_or_default(),
            "/kv-set" => kv::set("key", query.as_bytes(), None)?.to_string(),
            "/kv-get" => kv::get("key")?.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).unwrap_or_default(),
            "/kv-scan" => kv::scan("", None, 100)?.join(","),
            "/cache-put" => {
                cache::put(cache::Scope::Tenant, "key", query.as_bytes(), 60_000, &["tag".to_owned()])?;
                String::new()
            }
            "/cache-get" => cache::get(cache::Scope::Tenant, "key").map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default(),
            "/cache-drop" => {
                cache::drop_tag("tag");
                String::new()
            }
            "/blob" => {
                let error = blob::get("name").err().map(|error| format!("{:?} {}", error.class, error.code));
                error.unwrap_or_default()
            }
            "/sha256" => hash::digest(hash::Algorithm::Sha256, query.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => "?".to_owned(),
        };
        Ok(Reply::Whole(Response { status: 200, headers: vec![], body: answer.into_bytes() }))
    }
}

export!(Stores);
