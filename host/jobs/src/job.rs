//! What a job is, as it is put and as it is shown.

use std::{collections::BTreeMap, fmt, time::Duration};

/// What the manifest says of a kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRule {
    /// Tries in all, where the one who puts the job says nothing else; at least 1.
    pub max_attempts: u32,
    /// Time for one run.
    pub deadline: Duration,
}

/// The kinds of jobs that a service may put and runs, by name.
pub type Kinds = BTreeMap<String, KindRule>;

/// A job as it is put; mirrors `job-spec` of `wit/service/jobs.wit`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JobSpec {
    /// Listed in the manifest's `[jobs]`.
    pub kind: String,
    /// At most one waiting or running job of a kind and tenant has this key.
    pub key: Option<String>,
    /// Not before, in microseconds since the epoch, UTC; none for now.
    pub run_at: Option<i64>,
    /// At most 256 KiB.
    pub payload: Vec<u8>,
    /// In which version the payload is.
    pub payload_version: u32,
    /// Tries in all; the manifest's by default.
    pub max_attempts: Option<u32>,
    /// Open details for the handler.
    pub attrs: Vec<(String, String)>,
}

impl fmt::Debug for JobSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payload and attributes may hold personal data.
        f.debug_struct("JobSpec")
            .field("kind", &self.kind)
            .field("run_at", &self.run_at)
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// For its time, or its next try.
    Waiting,
    /// A worker has it.
    Running,
    /// It ended well.
    Succeeded,
    /// It was given up.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// The name as in the contracts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// How a job is; mirrors `job-status` of `wit/service/jobs.wit`.
#[derive(Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// UUIDv7.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Tries so far.
    pub attempt: u32,
    /// 0 to 100, as the handler told it.
    pub progress: u8,
    /// What the handler told with it.
    pub note: String,
    /// What the handler answered.
    pub output: Option<Vec<u8>>,
    /// Code of the last failure.
    pub last_error: Option<String>,
}

impl fmt::Debug for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Note and output may hold personal data.
        f.debug_struct("JobStatus")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("state", &self.state)
            .field("attempt", &self.attempt)
            .field("progress", &self.progress)
            .field("last_error", &self.last_error)
            .finish_non_exhaustive()
    }
}
