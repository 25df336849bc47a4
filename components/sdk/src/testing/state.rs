//! What the in-memory host knows.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

use serde_json::Value as JsonValue;

use crate::{
    bindings::pyairtable::{
        context::{call::Principal, log::Level, secrets::Algorithm},
        events::{
            bus,
            live::Message,
            store::{RecordedEvent, Snapshot},
        },
        mail::mailer,
        service::jobs::{JobSpec, JobState},
        storage::blob::Info,
        types::errors::{Error, ErrorClass},
    },
    http::Response,
};

/// A log line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its fields, as JSON text.
    pub fields: Vec<(String, String)>,
}

/// An event that was published, and committed if it belonged to a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// Its subject.
    pub subject: String,
    /// Its payload.
    pub data: JsonValue,
    /// Whose it is.
    pub tenant: Option<String>,
}

/// A job that was put, and committed if it belonged to a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedJob {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: Option<String>,
    /// Its payload as JSON; null if it is none.
    pub payload: JsonValue,
    /// Not before, in microseconds since the epoch.
    pub run_at: Option<i64>,
    /// Where it is.
    pub state: JobState,
    /// Code of the last failure.
    pub last_error: Option<String>,
}

/// A mail that was accepted, and committed if it belonged to a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct SentMail {
    /// Its recipients.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// Further fields.
    pub headers: Vec<(String, String)>,
}

/// A call as a fake service gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeRequest {
    /// Upper case.
    pub method: String,
    /// Whole.
    pub url: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Open options of the call.
    pub attrs: Vec<(String, String)>,
}

impl FakeRequest {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> JsonValue {
        serde_json::from_slice(&self.body).unwrap_or(JsonValue::Null)
    }

    /// The first value of a field; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub(super) type Fake = Rc<dyn Fn(&FakeRequest) -> Result<Response, crate::Error>>;

/// Who is asking.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) principal: Option<Principal>,
    pub(super) tenant: Option<String>,
    pub(super) service: Option<String>,
}

/// A job in the table.
#[derive(Clone, Debug)]
pub(super) struct StoredJob {
    pub(super) id: String,
    pub(super) spec: JobSpec,
    pub(super) caller: Caller,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) progress: (u8, String),
    pub(super) output: Option<Vec<u8>>,
    pub(super) last_error: Option<String>,
}

/// What happens if a transaction commits.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) events: Vec<(String, bus::Event, Caller)>,
    pub(super) jobs: Vec<StoredJob>,
    pub(super) cancelled: Vec<String>,
    pub(super) mails: Vec<mailer::Message>,
    pub(super) appended: Vec<RecordedEvent>,
    pub(super) snapshots: Vec<(String, Snapshot)>,
}

pub(super) struct OpenTransaction {
    pub(super) id: u64,
    pub(super) write: bool,
    pub(super) effects: Effects,
}

#[derive(Clone, Debug)]
pub(super) enum KvValue {
    Bytes(Vec<u8>),
    Counter(i64),
    List(VecDeque<Vec<u8>>),
    Limit(super::limits::Limit),
}

#[derive(Clone, Debug)]
pub(super) struct KvItem {
    pub(super) value: KvValue,
    pub(super) version: u64,
    pub(super) expires: Option<i64>,
}

pub(super) enum Secret {
    Value(Vec<u8>),
    Pair(Algorithm, Vec<u8>),
}

#[derive(Default)]
pub(super) struct Answered {
    pub(super) body: Vec<u8>,
    pub(super) response: Option<Response>,
}

pub(super) type IdempotencyKey = (Option<String>, Option<String>, String, String);

pub(super) struct State {
    pub(super) service: &'static crate::Service,
    pub(super) connection: Rc<rusqlite::Connection>,
    pub(super) types: super::migrate::Types,
    pub(super) caller: Caller,
    pub(super) now: i64,
    pub(super) config: BTreeMap<String, String>,
    pub(super) kv: BTreeMap<String, KvItem>,
    pub(super) versions: u64,
    pub(super) cache: HashMap<String, (Vec<u8>, i64, Vec<String>)>,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) tokens: HashMap<String, Principal>,
    pub(super) passwords: HashMap<String, String>,
    pub(super) logs: Vec<LogLine>,
    pub(super) published: Vec<Published>,
    pub(super) jobs: Vec<StoredJob>,
    pub(super) mails: Vec<SentMail>,
    pub(super) stream: Vec<RecordedEvent>,
    pub(super) snapshots: HashMap<String, Snapshot>,
    pub(super) live: BTreeMap<String, Vec<Message>>,
    pub(super) blobs: BTreeMap<String, (Info, Vec<u8>)>,
    pub(super) fakes: Vec<(String, Fake)>,
    pub(super) calls: Vec<FakeRequest>,
    pub(super) transaction: Option<OpenTransaction>,
    pub(super) ids: u64,
    pub(super) idempotent: HashMap<IdempotencyKey, Answered>,
    pub(super) idempotency: Option<IdempotencyKey>,
    pub(super) failures: HashMap<String, Error>,
    /// None without a manifest: everything is granted.
    pub(super) grants: Option<super::grants::Grants>,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

pub(super) fn install(state: State) {
    STATE.with_borrow_mut(|slot| *slot = Some(state));
}

pub(super) fn remove() {
    // Dropped outside of the borrow: a transaction that is dropped with it comes back here.
    drop(STATE.with_borrow_mut(Option::take));
}

/// Runs with the thread's host.
pub(super) fn with<T>(run: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(|state| {
        #[expect(clippy::expect_used, reason = "a test without a host is a mistake in the test")]
        run(state.as_mut().expect("make a sdk::testing::Host first"))
    })
}

/// As [`with`], if there is a host still.
pub(super) fn with_any<T>(run: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.try_with(|state| state.borrow_mut().as_mut().map(run)).ok().flatten()
}

impl State {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// An id that looks like the host's, and is the same in every run.
    pub(super) fn next_uuid(&mut self) -> String {
        let n = self.next_id();
        format!("0192f0c1-0000-7000-8000-{n:012x}")
    }

    pub(super) fn tenant(&self) -> Option<String> {
        self.caller.tenant.clone()
    }

    /// The failure that the test asked for, once it touches the import.
    pub(super) fn check(&self, import: &str) -> Result<(), Error> {
        self.failures.get(import).cloned().map_or(Ok(()), Err)
    }

    /// What the manifest says, if there is one.
    pub(super) fn granted(
        &self,
        check: impl FnOnce(&super::grants::Grants) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.grants.as_ref().map_or(Ok(()), check)
    }

    pub(super) fn commit(&mut self, effects: Effects) {
        for (id, event, caller) in effects.events {
            self.published.push(Published {
                id,
                topic: event.topic,
                subject: event.subject,
                data: serde_json::from_str(&event.data).unwrap_or(JsonValue::Null),
                tenant: caller.tenant,
            });
        }
        self.jobs.extend(effects.jobs);
        for id in effects.cancelled {
            if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
                job.state = JobState::Cancelled;
            }
        }
        for mail in effects.mails {
            self.mails.push(SentMail {
                to: mail.to,
                subject: mail.subject,
                text: mail.text,
                html: mail.html,
                headers: mail.headers,
            });
        }
        self.stream.extend(effects.appended);
        self.snapshots.extend(effects.snapshots);
    }

    /// Where effects go: into the open transaction, or at once.
    pub(super) fn effect(
        &mut self,
        tx: Option<u64>,
        add: impl FnOnce(&mut Effects),
    ) -> Result<(), Error> {
        match tx {
            None => {
                let mut effects = Effects::default();
                add(&mut effects);
                self.commit(effects);
                Ok(())
            }
            Some(id) => match &mut self.transaction {
                Some(open) if open.id == id => {
                    add(&mut open.effects);
                    Ok(())
                }
                _ => Err(error(ErrorClass::Conflict, "tx.closed", "the transaction is closed")),
            },
        }
    }
}

pub(super) fn error(class: ErrorClass, code: &str, message: impl Into<String>) -> Error {
    Error {
        class,
        code: code.to_owned(),
        message: message.into(),
        retry_after_ms: None,
        attrs: Vec::new(),
    }
}
