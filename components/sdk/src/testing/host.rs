//! The in-memory host as a test holds it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value as JsonValue;

use super::{
    FakeRequest, LogLine, Published, QueuedJob, SentMail, TestClient,
    grants::Grants,
    imports, migrate,
    state::{self, Caller, OpenTransaction, Secret, State, StoredJob, with},
};
use crate::{
    Error, Result, Service, Timestamp,
    bindings::{
        consumer::exports::pyairtable::events::consumer::{Delivery, Outcome},
        pyairtable::{context::call::Principal, events::live::Message, service::jobs::JobState},
    },
    events,
    http::Response,
    jobs, sql,
};

/// The in-memory host of a test: one on a thread.
///
/// # Panics
/// Its functions panic where the test itself is wrong: a migration that does not run, a fake that
/// is not there.
#[derive(Debug)]
#[must_use]
pub struct Host {
    service: &'static Service,
}

/// 2026-01-01T00:00:00Z: the clock of a new host.
const START: i64 = 1_767_225_600_000_000;

#[expect(clippy::expect_used, clippy::panic, reason = "a test that is set up wrongly fails there")]
impl Host {
    /// A host with one service, an empty database and the clock at 2026-01-01T00:00:00Z. Runs the
    /// service's `init`.
    pub fn new(service: &'static Service) -> Self {
        let connection = Connection::open_in_memory().expect("SQLite in memory");
        connection
            .execute_batch("PRAGMA foreign_keys = ON; PRAGMA case_sensitive_like = ON;")
            .expect("SQLite's settings");
        state::install(State {
            service,
            connection: Rc::new(connection),
            types: migrate::Types::new(),
            caller: Caller::default(),
            now: START,
            config: BTreeMap::new(),
            kv: BTreeMap::new(),
            versions: 0,
            cache: HashMap::new(),
            secrets: BTreeMap::new(),
            tokens: HashMap::new(),
            passwords: HashMap::new(),
            logs: Vec::new(),
            published: Vec::new(),
            jobs: Vec::new(),
            mails: Vec::new(),
            stream: Vec::new(),
            snapshots: HashMap::new(),
            live: BTreeMap::new(),
            blobs: BTreeMap::new(),
            fakes: Vec::new(),
            calls: Vec::new(),
            transaction: None,
            ids: 0,
            idempotent: HashMap::new(),
            idempotency: None,
            failures: HashMap::new(),
            grants: None,
        });
        service.hooks().run_init().expect("the service's `init`");
        Self { service }
    }

    /// As [`new`](Self::new), with what is in the crate's folder: `migrations/`, and of
    /// `service.toml` the `[config]` and the grants: an event, job, call, secret or mail that the
    /// manifest does not list is refused as on the host.
    pub fn of_crate(service: &'static Service) -> Self {
        let mut host = Self::new(service);
        let root = root();
        if let Ok(text) = std::fs::read_to_string(root.join("service.toml")) {
            let manifest: toml::Table = text.parse().expect("service.toml is TOML");
            with(|state| state.grants = Some(Grants::of(&manifest)));
            if let Some(toml::Value::Table(config)) = manifest.get("config") {
                for (key, value) in config {
                    host = host.with_config(key, value);
                }
            }
        }
        if root.join("migrations").is_dir() {
            host = host.with_migrations("migrations");
        }
        host
    }

    /// Runs the `.sql` files of a folder (relative to the crate) in the order of their names.
    pub fn with_migrations(self, folder: impl AsRef<Path>) -> Self {
        let folder = root().join(folder);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        files.sort();
        for file in files {
            let sql = std::fs::read_to_string(&file).expect("a migration is text");
            self.migrate(&file.display().to_string(), &sql);
        }
        self
    }

    fn migrate(&self, name: &str, sql: &str) {
        with(|state| {
            let sql = migrate::translate(sql, &mut state.types)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            state.connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    }

    /// Runs DDL in portable types, for a test without files.
    pub fn with_schema(self, sql: &str) -> Self {
        self.migrate("schema", sql);
        self
    }

    /// Sets a key of the configuration.
    pub fn with_config(self, key: &str, value: impl Serialize) -> Self {
        let json = serde_json::to_string(&value).expect("a configuration value is JSON");
        with(|state| state.config.insert(key.to_owned(), json));
        self
    }

    /// Puts a secret into the vault: for a tenant, or for names that begin with `shared/` for all.
    pub fn with_secret(self, tenant: &str, name: &str, value: &[u8]) -> Self {
        let key = if name.starts_with("shared/") {
            name.to_owned()
        } else {
            format!("{tenant}\u{1}{name}")
        };
        with(|state| state.secrets.insert(key, Secret::Value(value.to_vec())));
        self
    }

    /// A token that `context::assume` takes.
    pub fn with_token(self, jwt: &str, subject: &str, tenant: &str) -> Self {
        with(|state| state.tokens.insert(jwt.to_owned(), principal(subject, tenant)));
        self
    }

    /// Limits a token of [`with_token`](Self::with_token) to these scopes.
    pub fn allow_scopes(&self, jwt: &str, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        with(|state| state.tokens.get_mut(jwt).expect("a token of the test").scopes = scopes);
    }

    /// Ends the session of a token: `context::assume` does not take it any more.
    pub fn revoke(&self, jwt: &str) {
        with(|state| state.tokens.remove(jwt));
    }

    /// A bcrypt hash that `password::verify` takes for this password, and calls outdated.
    pub fn with_legacy_password(self, hash: &str, password: &str) -> Self {
        with(|state| state.passwords.insert(hash.to_owned(), password.to_owned()));
        self
    }

    /// Answers calls to URLs that begin with this; of several the longest counts. An error is one
    /// of the call, as `call.unreachable`.
    pub fn with_fake(
        self,
        url: &str,
        answer: impl Fn(&FakeRequest) -> Result<Response> + 'static,
    ) -> Self {
        with(|state| state.fakes.push((url.to_owned(), Rc::new(answer))));
        self
    }

    /// Makes an import fail from now on: `sql`, `sql.commit`, `storage/kv`, `storage/blob`,
    /// `events/bus`, `service/jobs`, `mail/mailer`, `context/secrets`. None ends it.
    pub fn fail(&self, import: &str, failure: Option<Error>) {
        with(|state| match failure {
            Some(failure) => state.failures.insert(import.to_owned(), failure.into_wit()),
            None => state.failures.remove(import),
        });
    }

    /// A client that is logged in.
    pub fn as_user(&self, subject: &str, tenant: &str) -> TestClient<'_> {
        self.as_principal(principal(subject, tenant))
    }

    /// A client with these roles.
    pub fn as_role(&self, subject: &str, tenant: &str, roles: &[&str]) -> TestClient<'_> {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self.as_principal(Principal { roles, ..principal(subject, tenant) })
    }

    /// A client with any principal.
    pub fn as_principal(&self, principal: Principal) -> TestClient<'_> {
        TestClient::new(
            self.service,
            Caller {
                tenant: Some(principal.tenant.clone()),
                principal: Some(principal),
                service: None,
            },
        )
    }

    /// A client that nobody knows.
    pub fn anonymous(&self) -> TestClient<'_> {
        TestClient::new(self.service, Caller::default())
    }

    /// Another service, calling for nobody: its name, or a whole SPIFFE id.
    pub fn as_service(&self, name: &str) -> TestClient<'_> {
        TestClient::new(
            self.service,
            Caller { service: Some(name.to_owned()), ..Caller::default() },
        )
    }

    /// Runs code of the service as if it handled a call of this user: for tests of `store.rs`.
    pub fn run_as<T>(&self, subject: &str, tenant: &str, run: impl FnOnce() -> T) -> T {
        let caller = Caller {
            tenant: Some(tenant.to_owned()),
            principal: Some(principal(subject, tenant)),
            service: None,
        };
        run_with(caller, run)
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        with(|state| state.now = (Timestamp::from_micros(state.now) + by).as_micros());
    }

    /// Sets the clock.
    pub fn set_time(&self, time: Timestamp) {
        with(|state| state.now = time.as_micros());
    }

    /// Rows of a statement in the service's database, across tenants.
    #[must_use]
    pub fn query<T: sql::FromRow>(&self, statement: &str, params: Vec<sql::Value>) -> Vec<T> {
        sql::shared().query(statement, params).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A write to the service's database, across tenants.
    pub fn execute(&self, statement: &str, params: Vec<sql::Value>) -> u64 {
        sql::shared().execute(statement, params).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Events published to a topic so far.
    #[must_use]
    pub fn published(&self, topic: &str) -> Vec<Published> {
        with(|state| state.published.iter().filter(|e| e.topic == topic).cloned().collect())
    }

    /// All events published so far.
    #[must_use]
    pub fn all_published(&self) -> Vec<Published> {
        with(|state| state.published.clone())
    }

    /// Mails sent so far.
    #[must_use]
    pub fn mails(&self) -> Vec<SentMail> {
        with(|state| state.mails.clone())
    }

    /// Log lines so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        with(|state| state.logs.clone())
    }

    /// Calls made so far.
    #[must_use]
    pub fn calls(&self) -> Vec<FakeRequest> {
        with(|state| state.calls.clone())
    }

    /// Messages sent to a live channel so far.
    #[must_use]
    pub fn live(&self, channel: &str) -> Vec<Message> {
        with(|state| state.live.get(channel).cloned().unwrap_or_default())
    }

    /// The present one-time password of a secret.
    #[must_use]
    pub fn totp(&self, tenant: &str, name: &str) -> String {
        let key = format!("{tenant}\u{1}{name}");
        with(|state| match state.secrets.get(&key) {
            Some(Secret::Value(seed)) => {
                let step = Timestamp::from_micros(state.now).as_seconds().unsigned_abs() / 30;
                imports::secrets::totp(seed, step)
            }
            _ => panic!("no secret {name} of {tenant}"),
        })
    }

    /// Jobs put so far.
    #[must_use]
    pub fn jobs(&self) -> Vec<QueuedJob> {
        with(|state| state.jobs.iter().map(queued).collect())
    }

    /// Runs the jobs that are due, and those they put, until none is; answers how many runs that
    /// took. One that fails is left waiting if the failure may pass, and is not run again here.
    pub fn run_jobs(&self) -> usize {
        let mut runs = 0;
        let mut tried = Vec::new();
        while let Some(job) = next_job(&tried) {
            runs += 1;
            tried.push(job.id.clone());
            run_job(self.service, job);
        }
        runs
    }

    /// Calls a tick.
    ///
    /// # Errors
    /// What it answers.
    pub fn tick(&self, name: &str) -> Result<()> {
        let due = with(|state| state.now);
        run_with(Caller::default(), || jobs::tick(self.service, name, due))
    }

    /// Delivers an event as the host does: in a transaction that commits if it is acknowledged.
    pub fn deliver(
        &self,
        topic: &str,
        subject: &str,
        tenant: Option<&str>,
        data: &JsonValue,
    ) -> Outcome {
        let delivery = with(|state| Delivery {
            id: state.next_uuid(),
            topic: topic.to_owned(),
            source: "spiffe://cluster.local/ns/pyairtable/sa/test".to_owned(),
            subject: subject.to_owned(),
            time: state.now,
            tenant: tenant.map(str::to_owned),
            actor: None,
            correlation_id: "0192f0c1-0000-7000-8000-00000000c0de".to_owned(),
            data: data.to_string(),
            attempt: 1,
            position: state.next_id(),
        });
        let caller = Caller { tenant: tenant.map(str::to_owned), ..Caller::default() };
        run_with(caller, || {
            let tx = imports::sql::begin(crate::bindings::pyairtable::storage::sql::Access::Write)
                .unwrap_or_else(|error| panic!("{error}"));
            let outcome = events::consume(self.service, vec![delivery], Some(&tx))
                .pop()
                .expect("one outcome for one delivery");
            let ended =
                if matches!(outcome, Outcome::Ack) { tx.commit(None) } else { tx.rollback() };
            ended.unwrap_or_else(|error| panic!("{error}"));
            outcome
        })
    }

    /// Runs the service's `ready`.
    ///
    /// # Errors
    /// What it answers.
    pub fn ready(&self) -> Result<()> {
        run_with(Caller::default(), || self.service.hooks().run_ready())
    }

    /// Runs the service's `shutdown`.
    pub fn shutdown(&self) {
        run_with(Caller::default(), || self.service.hooks().run_shutdown());
    }

    /// All parts of a subject's export, over its pages: section and content.
    ///
    /// # Errors
    /// What the service answers.
    pub fn export_subject(&self, subject: &str, tenant: &str) -> Result<Vec<(String, JsonValue)>> {
        let personal = self.service.personal().expect("the service declares subject_data");
        self.run_as(subject, tenant, || {
            let mut all = Vec::new();
            for page in 0.. {
                let (parts, more) = (personal.export)(subject, page)?;
                all.extend(parts.into_iter().map(|part| {
                    let content = serde_json::from_str(&part.content).expect("an export is JSON");
                    (part.section, content)
                }));
                if !more {
                    break;
                }
            }
            Ok(all)
        })
    }

    /// Erases a subject.
    ///
    /// # Errors
    /// What the service answers.
    pub fn erase_subject(
        &self,
        subject: &str,
        tenant: &str,
    ) -> Result<Vec<crate::subject::Erasure>> {
        let personal = self.service.personal().expect("the service declares subject_data");
        self.run_as(subject, tenant, || (personal.erase)(subject))
    }

    /// The OpenAPI document.
    #[must_use]
    pub fn openapi(&self) -> JsonValue {
        crate::openapi::document(self.service)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        state::remove();
    }
}

fn root() -> PathBuf {
    // Cargo sets it for the tests it runs.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn principal(subject: &str, tenant: &str) -> Principal {
    Principal {
        subject: subject.to_owned(),
        tenant: tenant.to_owned(),
        roles: Vec::new(),
        scopes: Vec::new(),
        session: Some(format!("session-of-{subject}")),
        expires_at: 4_102_444_800,
        attrs: Vec::new(),
    }
}

/// Runs as a caller, and puts back who was there before. A transaction that is left open is
/// rolled back, as the host does.
pub(super) fn run_with<T>(caller: Caller, run: impl FnOnce() -> T) -> T {
    let before = with(|state| std::mem::replace(&mut state.caller, caller));
    let result = run();
    let open: Option<OpenTransaction> = with(|state| {
        state.caller = before;
        state.transaction.take()
    });
    if open.is_some() {
        let connection = with(|state| Rc::clone(&state.connection));
        // It was opened by SQLite, so there is one to roll back.
        drop(connection.execute_batch("ROLLBACK"));
    }
    result
}

fn queued(job: &StoredJob) -> QueuedJob {
    QueuedJob {
        id: job.id.clone(),
        kind: job.spec.kind.clone(),
        key: job.spec.key.clone(),
        payload: serde_json::from_slice(&job.spec.payload).unwrap_or(JsonValue::Null),
        run_at: job.spec.run_at,
        state: job.state,
        last_error: job.last_error.clone(),
    }
}

fn next_job(tried: &[String]) -> Option<StoredJob> {
    with(|state| {
        let now = state.now;
        let job = state.jobs.iter_mut().find(|job| {
            job.state == JobState::Waiting
                && job.spec.run_at.is_none_or(|at| at <= now)
                && !tried.contains(&job.id)
        })?;
        job.state = JobState::Running;
        job.attempt += 1;
        Some(job.clone())
    })
}

fn run_job(service: &Service, job: StoredJob) {
    let running =
        imports::jobs::Job { id: job.id.clone(), spec: job.spec.clone(), attempt: job.attempt };
    let result = run_with(job.caller, || jobs::run(service, running));
    with(|state| {
        let Some(stored) = state.jobs.iter_mut().find(|stored| stored.id == job.id) else { return };
        if stored.state != JobState::Running {
            return;
        }
        match result {
            Ok(output) => {
                stored.state = JobState::Succeeded;
                stored.output = Some(output);
            }
            Err(error) => {
                stored.last_error = Some(error.code().to_owned());
                stored.state =
                    if error.is_retryable() { JobState::Waiting } else { JobState::Failed };
            }
        }
    });
}
