//! The database through the SDK, on the in-memory host.

use serde_json::json;

use super::*;
use crate::{
    Error, Result, Row, Tenant, Text, Timestamp, Uuid,
    events::{ExpectedVersion, NewEvent, Received},
    jobs::{Job, NewJob},
    params,
    testing::Host,
};

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, Text)]
#[serde(rename_all = "snake_case")]
enum Colour {
    DeepRed,
    Green,
}

#[derive(Debug, PartialEq, Row)]
struct All {
    id: Uuid,
    amount: Decimal,
    #[row(json)]
    list: Vec<i32>,
    name: String,
    at: Timestamp,
    flag: bool,
    n: Option<i64>,
    #[row(rename = "d")]
    double: f64,
    data: Vec<u8>,
    colour: Colour,
}

const SCHEMA: &str = "CREATE TABLE things (
    tenant_id text NOT NULL, id uuid NOT NULL PRIMARY KEY, amount decimal NOT NULL, list json NOT NULL,
    name text NOT NULL UNIQUE, at timestamp NOT NULL, flag boolean NOT NULL, n bigint,
    d double NOT NULL, data bytes NOT NULL, colour text NOT NULL CHECK (colour <> 'blue'));";

fn on_thing(event: Received<serde_json::Value>, db: &Db<'_>) -> Result<()> {
    insert(db, event.data["name"].as_str().unwrap_or_default())?;
    match event.data["then"].as_str() {
        Some("retry") => Err(Error::unavailable("later").retry_after_ms(500)),
        Some("dead") => Err(Error::conflict("never")),
        _ => Ok(()),
    }
}

fn work(job: &Job) -> Result<()> {
    job.progress(50, "half")?;
    job.payload::<Vec<u8>>().map(drop)
}

crate::service! {
    consumers: &[crate::consumers! { "thing.made" => on_thing; }],
    jobs: &[crate::jobs! { "work" => work; }],
}

fn host() -> Host {
    Host::new(&SERVICE).with_schema(SCHEMA)
}

fn insert(db: &Db<'_>, name: &str) -> Result<All> {
    let all = All {
        id: Uuid::v7(),
        amount: "-12.500".parse().unwrap(),
        list: vec![1, 2],
        name: name.to_owned(),
        at: Timestamp::from_micros(-1),
        flag: true,
        n: None,
        double: 1.5,
        data: vec![0, 255],
        colour: Colour::DeepRed,
    };
    db.execute(
        "INSERT INTO things (tenant_id, id, amount, list, name, at, flag, n, d, data, colour)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            all.id,
            all.amount,
            Json(&all.list),
            all.name,
            all.at,
            all.flag,
            all.n,
            all.double,
            all.data,
            all.colour
        ],
    )?;
    Ok(all)
}

const ALL: &str = "SELECT * FROM things WHERE tenant_id = $tenant";

#[test]
fn every_type_goes_both_ways() {
    let host = host();
    host.run_as("u", "t", || {
        let db = tenant().unwrap();
        let all = insert(&db, "a").unwrap();
        assert_eq!(db.one::<All>(ALL, params![]).unwrap(), all);
        // An expression has lost its type on SQLite.
        let (latest, count): (Timestamp, i64) = db
            .one("SELECT max(at), count(*) FROM things WHERE tenant_id = $tenant", params![])
            .unwrap();
        assert_eq!((latest, count), (all.at, 1));
    });
    host.run_as("u", "other", || {
        assert_eq!(tenant().unwrap().query::<All>(ALL, params![]).unwrap(), []);
    });
}

#[test]
fn a_statement_that_forgets_the_tenant_is_an_error() {
    let host = host();
    host.run_as("u", "t", || {
        let db = tenant().unwrap();
        let forgot = db.query::<(i64,)>("SELECT 1", params![]).unwrap_err();
        assert_eq!(forgot.status(), 500);
        let stray = shared().query::<All>(ALL, params![]).unwrap_err();
        assert_eq!(stray.status(), 500);
    });
    assert_eq!(tenant().unwrap_err().status(), 401);
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let host = host();
    host.run_as("u", "t", || {
        let db = tenant().unwrap();
        let tx = db.begin().unwrap();
        insert(&tx, "a").unwrap();
        tx.publish_as("thing.made", "a", &json!({"n": 1})).unwrap();
        tx.put_job(&NewJob::new("work", &[1]).unwrap()).unwrap();
        tx.append("thing-1", ExpectedVersion::NoStream, &[NewEvent::new("made", &1).unwrap()])
            .unwrap();
        assert_eq!(tx.query::<All>(ALL, params![]).unwrap().len(), 1);
        // Outside of it a write would wait for it forever.
        assert_eq!(insert(&db, "b").unwrap_err().code(), "sql.busy");
        drop(tx);
        assert_eq!(db.query::<All>(ALL, params![]).unwrap(), []);
        assert_eq!(crate::events::read("thing-1", 0, 10).unwrap(), []);
    });
    assert!(host.all_published().is_empty() && host.jobs().is_empty());

    host.run_as("u", "t", || {
        let tx = tenant().unwrap().begin().unwrap();
        insert(&tx, "a").unwrap();
        tx.publish_as("thing.made", "a", &json!({"n": 1})).unwrap();
        tx.commit().unwrap();
        let error = insert(&tenant().unwrap(), "a").unwrap_err();
        assert_eq!((error.code(), error.status()), ("sql.unique-violation", 409));
        assert_eq!(error.attr("constraint"), Some("things.name"));
    });
    assert_eq!(host.published("thing.made")[0].tenant.as_deref(), Some("t"));
}

#[test]
fn an_open_transaction_is_rolled_back_when_the_handler_ends() {
    let host = host();
    host.run_as("u", "t", || {
        let tx = tenant().unwrap().begin().unwrap();
        insert(&tx, "a").unwrap();
        std::mem::forget(tx);
    });
    assert_eq!(host.query::<(i64,)>("SELECT count(*) FROM things", params![]), [(0,)]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let host = host();
    host.run_as("u", "t", || {
        let db = shared();
        for (statement, params, code) in [
            ("SELECT nothing FROM things", params![], "sql.syntax"),
            ("DROP TABLE things", params![], "sql.not-allowed"),
            ("PRAGMA user_version", params![], "sql.not-allowed"),
            ("SELECT $1", params![], "sql.parameter"),
            ("SELECT 1", params![1i64], "sql.parameter"),
            ("UPDATE things SET colour = 'blue' WHERE 1 = 0", params![], ""),
        ] {
            let result = db.rows(statement, params);
            assert_eq!(
                result.err().map_or(String::new(), |e| e.code().to_owned()),
                code,
                "{statement}"
            );
        }
        assert_eq!(db.scalar::<bool>("SELECT 2", params![]).unwrap_err().status(), 500);
        assert_eq!(db.scalar::<i64>("SELECT 1 WHERE 1 = 0", params![]).unwrap_err().status(), 404);
    });
}

#[test]
fn an_event_is_acknowledged_with_its_effect_or_has_none() {
    use crate::bindings::consumer::exports::pyairtable::events::consumer::Outcome;
    let host = host();
    let deliver = |data| host.deliver("thing.made", "s", Some("t"), &data);
    let count = || host.query::<(i64,)>("SELECT count(*) FROM things", params![])[0].0;
    assert!(matches!(deliver(json!({"name": "a"})), Outcome::Ack));
    assert_eq!(count(), 1);
    assert!(matches!(deliver(json!({"name": "b", "then": "retry"})), Outcome::Retry(Some(500))));
    assert!(matches!(deliver(json!({"name": "b", "then": "dead"})), Outcome::Dead(_)));
    assert_eq!(count(), 1);
    assert!(matches!(host.deliver("other", "s", None, &json!({})), Outcome::Dead(_)));
}

#[test]
fn jobs_run_once_for_a_key_and_fail_for_good_when_the_payload_is_wrong() {
    use crate::jobs::JobState;
    let host = host();
    host.run_as("u", "t", || {
        let first = crate::jobs::put(&NewJob::new("work", &[1]).unwrap().key("k")).unwrap();
        assert_eq!(crate::jobs::put(&NewJob::new("work", &[2]).unwrap().key("k")).unwrap(), first);
        crate::jobs::put(&NewJob::new("work", "not bytes").unwrap()).unwrap();
        let later = NewJob::new("work", &[3]).unwrap().after(std::time::Duration::from_secs(60));
        crate::jobs::put(&later).unwrap();
        assert_eq!(
            crate::jobs::put(&NewJob::new("play", &()).unwrap()).unwrap_err().code(),
            "jobs.kind"
        );
    });
    assert_eq!(host.run_jobs(), 2);
    let states: Vec<JobState> = host.jobs().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Succeeded, JobState::Failed, JobState::Waiting]);
    host.advance(std::time::Duration::from_secs(60));
    assert_eq!(host.run_jobs(), 1);
}

#[test]
fn decimals_keep_their_digits() {
    for good in ["0", "-1.50", "+3", "123456789012345678901234567890.1"] {
        assert!(good.parse::<Decimal>().is_ok(), "{good}");
    }
    for bad in ["", "-", ".5", "1.", "1e3", "1.2.3", "NaN", "0x1"] {
        assert!(bad.parse::<Decimal>().is_err(), "{bad}");
    }
    assert_eq!(Colour::Green.as_str(), "green");
    assert_eq!("deep_red".parse::<Colour>(), Ok(Colour::DeepRed));
    assert_eq!(Tenant::new("t").to_value(), Value::Text("t".to_owned()));
}
