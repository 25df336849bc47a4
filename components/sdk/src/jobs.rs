//! Durable background work.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result, Timestamp, bindings::pyairtable::service::jobs as wit, imports,
    service::Service, sql::Db,
};

pub use crate::bindings::pyairtable::service::jobs::{JobState, JobStatus};

/// A job to be put.
///
/// ```no_run
/// # fn f(tx: &sdk::sql::Db<'_>) -> sdk::Result<()> {
/// let id = tx.put_job(&sdk::jobs::NewJob::new("export", &["a", "b"])?.key("export-1"))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct NewJob(wit::JobSpec);

impl NewJob {
    /// A job of a kind of the manifest's `[jobs]` with a JSON payload.
    ///
    /// # Errors
    /// If the payload cannot be written as JSON.
    pub fn new(kind: &str, payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self(wit::JobSpec {
            kind: kind.to_owned(),
            key: None,
            run_at: None,
            payload: serde_json::to_vec(payload)
                .map_err(|error| Error::internal(format!("the job is not JSON: {error}")))?,
            payload_version: 1,
            max_attempts: None,
            attrs: Vec::new(),
        }))
    }

    /// At most one waiting or running job of the kind has this key; a second one is the first.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// Not before this time.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.0.run_at = Some(time.as_micros());
        self
    }

    /// Not before so long from now.
    pub fn after(self, delay: Duration) -> Self {
        self.at(Timestamp::now() + delay)
    }

    /// The version of the payload, 1 unless said.
    pub fn version(mut self, version: u32) -> Self {
        self.0.payload_version = version;
        self
    }

    /// Tries in all; the manifest's by default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.0.max_attempts = Some(attempts);
        self
    }

    /// An open option.
    pub fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.attrs.push((name.to_owned(), value.into()));
        self
    }
}

/// Puts a job that belongs to no transaction; answers its id.
///
/// # Errors
/// `jobs.*`.
pub fn put(job: &NewJob) -> Result<String> {
    Ok(imports::jobs::put(&job.0, None)?)
}

/// Cancels a job that has not ended; answers whether there was one.
///
/// # Errors
/// `jobs.*`.
pub fn cancel(id: &str) -> Result<bool> {
    Ok(imports::jobs::cancel(id, None)?)
}

/// How a job is doing.
///
/// # Errors
/// `jobs.not-found`.
pub fn status(id: &str) -> Result<JobStatus> {
    Ok(imports::jobs::status(id)?)
}

impl Db<'_> {
    /// Puts a job: in a transaction if and only if that commits. Answers its id.
    ///
    /// # Errors
    /// `jobs.*`, `tx.closed`.
    pub fn put_job(&self, job: &NewJob) -> Result<String> {
        Ok(imports::jobs::put(&job.0, self.handle())?)
    }

    /// Cancels a job; answers whether there was one that had not ended.
    ///
    /// # Errors
    /// As [`put_job`](Self::put_job).
    pub fn cancel_job(&self, id: &str) -> Result<bool> {
        Ok(imports::jobs::cancel(id, self.handle())?)
    }
}

/// A job that is running.
#[derive(Debug)]
pub struct Job(imports::jobs::Job);

impl Job {
    pub(crate) fn new(job: imports::jobs::Job) -> Self {
        Self(job)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> String {
        self.0.kind()
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        self.0.key()
    }

    /// The payload.
    ///
    /// # Errors
    /// 422, which ends the job, if it does not fit.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0.payload()).map_err(|error| {
            Error::new(422, "jobs.payload", format!("the payload does not fit: {error}"))
        })
    }

    /// The version the payload was put with.
    #[must_use]
    pub fn payload_version(&self) -> u32 {
        self.0.payload_version()
    }

    /// 1 for the first try.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// Tells progress (0 to 100) and renews the lease.
    ///
    /// # Errors
    /// `jobs.lost`: stop without a further effect.
    pub fn progress(&self, percent: u8, note: &str) -> Result<()> {
        Ok(self.0.progress(percent, note)?)
    }
}

/// A row of the table of jobs, made by [`jobs!`](crate::jobs!).
#[derive(Clone, Copy)]
pub struct JobKind {
    /// The kind.
    pub kind: &'static str,
    /// The function.
    pub call: fn(&Job) -> Result<Vec<u8>>,
}

impl std::fmt::Debug for JobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

/// Declares which function does the jobs of a kind: `jobs! { "export" => run_export; }`, with
/// `fn run_export(job: &Job) -> Result<T>` and an output that serializes. An error that may pass
/// is tried again; of the classes invalid, denied, not found and unsupported it is final.
#[macro_export]
macro_rules! jobs {
    ($($kind:literal => $($handler:ident)::+;)*) => {
        &[$($crate::jobs::JobKind {
            kind: $kind,
            call: |job| $($handler)::+(job).and_then(|output| $crate::jobs::output(&output)),
        }),*]
    };
}

/// The output of a job as JSON.
#[doc(hidden)]
pub fn output(output: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(output)
        .map_err(|error| Error::internal(format!("the job's output is not JSON: {error}")))
}

pub(crate) fn run(service: &Service, job: imports::jobs::Job) -> Result<Vec<u8>> {
    let job = Job::new(job);
    let kind = job.kind();
    let found = service.job(&kind).ok_or_else(|| {
        Error::new(501, "jobs.kind", format!("no function does jobs of the kind {kind}"))
    })?;
    (found.call)(&job)
}

/// A row of the table of ticks, made by [`ticks!`](crate::ticks).
#[derive(Clone, Copy)]
pub struct Tick {
    /// The name in the manifest.
    pub name: &'static str,
    /// The function.
    pub call: fn(Timestamp) -> Result<()>,
}

impl std::fmt::Debug for Tick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Declares which function a tick calls: `ticks! { "cleanup" => cleanup; }`, with
/// `fn cleanup(due: Timestamp) -> Result<()>`. There is no tenant: put a job for each.
#[macro_export]
macro_rules! ticks {
    ($($name:literal => $($handler:ident)::+;)*) => {
        &[$($crate::jobs::Tick { name: $name, call: |due| $($handler)::+(due) }),*]
    };
}

pub(crate) fn tick(service: &Service, name: &str, due: i64) -> Result<()> {
    let found = service.tick(name).ok_or_else(|| {
        Error::new(501, "ticks.name", format!("no function takes the tick {name}"))
    })?;
    (found.call)(Timestamp::from_micros(due))
}
