//! Events, jobs, mail and live channels.

/// Publishing.
pub(crate) mod bus {
    use crate::{
        bindings::pyairtable::{
            events::bus::Event,
            types::errors::{Error, ErrorClass},
        },
        testing::{
            imports::sql::Transaction,
            state::{error, with},
        },
    };

    pub(crate) fn publish(event: &Event, tx: Option<&Transaction>) -> Result<String, Error> {
        if event.data.len() > 256 << 10 {
            return Err(error(ErrorClass::Invalid, "events.too-large", "over 256 KiB"));
        }
        if !event.data.trim_start().starts_with('{') {
            return Err(error(ErrorClass::Invalid, "events.schema", "the data is not an object"));
        }
        with(|state| {
            state.check("events/bus")?;
            state.granted(|grants| grants.topic(&event.topic))?;
            let id = state.next_uuid();
            let caller = state.caller.clone();
            state.effect(tx.map(|tx| tx.id), |effects| {
                effects.events.push((id.clone(), event.clone(), caller));
            })?;
            Ok(id)
        })
    }
}

/// The event store.
pub(crate) mod store {
    use crate::{
        bindings::pyairtable::{
            events::store::{ExpectedVersion, NewEvent, RecordedEvent, Snapshot},
            types::errors::{Error, ErrorClass},
        },
        testing::{
            imports::sql::Transaction,
            state::{State, error, with},
        },
    };

    /// Recorded events, those of the open transaction included.
    fn recorded(state: &State) -> impl Iterator<Item = &RecordedEvent> {
        let open = state.transaction.iter().flat_map(|open| &open.effects.appended);
        state.stream.iter().chain(open)
    }

    fn scoped(state: &State, stream: &str) -> String {
        format!("{}\u{1}{stream}", state.tenant().unwrap_or_default())
    }

    fn plain(event: &RecordedEvent) -> RecordedEvent {
        let stream = event.stream.split_once('\u{1}').map_or("", |(_, name)| name).to_owned();
        RecordedEvent { stream, ..event.clone() }
    }

    pub(crate) fn append(
        stream: &str,
        expected: ExpectedVersion,
        events: &[NewEvent],
        tx: Option<&Transaction>,
    ) -> Result<u64, Error> {
        with(|state| {
            let stream = scoped(state, stream);
            let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
            let known: Vec<u64> = recorded(state)
                .filter(|event| event.stream == stream && ids.contains(&event.id.as_str()))
                .map(|event| event.version)
                .collect();
            if known.len() == events.len() && !events.is_empty() {
                return Ok(known.into_iter().max().unwrap_or(0));
            }
            let actual = recorded(state)
                .filter(|event| event.stream == stream)
                .map(|event| event.version)
                .max()
                .unwrap_or(0);
            let fits = match expected {
                ExpectedVersion::Any => true,
                ExpectedVersion::NoStream => actual == 0,
                ExpectedVersion::StreamExists => actual > 0,
                ExpectedVersion::Exactly(version) => actual == version,
            };
            if !fits {
                let mut failure =
                    error(ErrorClass::Conflict, "store.wrong-version", "another writer was first");
                failure.attrs.push(("actual".to_owned(), actual.to_string()));
                return Err(failure);
            }
            let mut version = actual;
            let mut appended = Vec::new();
            for event in events {
                version += 1;
                appended.push(RecordedEvent {
                    id: event.id.clone(),
                    stream: stream.clone(),
                    version,
                    position: state.next_id(),
                    event_type: event.event_type.clone(),
                    data: event.data.clone(),
                    metadata: event.metadata.clone(),
                    time: state.now,
                });
            }
            state.effect(tx.map(|tx| tx.id), |effects| effects.appended.extend(appended))?;
            Ok(version)
        })
    }

    pub(crate) fn read(stream: &str, after: u64, max: u32) -> Result<Vec<RecordedEvent>, Error> {
        with(|state| {
            let stream = scoped(state, stream);
            Ok(recorded(state)
                .filter(|event| event.stream == stream && event.version > after)
                .take(max as usize)
                .map(plain)
                .collect())
        })
    }

    pub(crate) fn read_backwards(
        stream: &str,
        before: Option<u64>,
        max: u32,
    ) -> Result<Vec<RecordedEvent>, Error> {
        with(|state| {
            let stream = scoped(state, stream);
            let mut events: Vec<_> = recorded(state)
                .filter(|event| {
                    event.stream == stream && before.is_none_or(|before| event.version < before)
                })
                .map(plain)
                .collect();
            events.reverse();
            events.truncate(max as usize);
            Ok(events)
        })
    }

    pub(crate) fn read_category(
        category: &str,
        after: u64,
        max: u32,
    ) -> Result<Vec<RecordedEvent>, Error> {
        with(|state| {
            let prefix = scoped(state, &format!("{category}-"));
            Ok(recorded(state)
                .filter(|event| event.stream.starts_with(&prefix) && event.position > after)
                .take(max as usize)
                .map(plain)
                .collect())
        })
    }

    pub(crate) fn put_snapshot(
        stream: &str,
        snapshot: &Snapshot,
        tx: Option<&Transaction>,
    ) -> Result<(), Error> {
        with(|state| {
            let stream = scoped(state, stream);
            state.effect(tx.map(|tx| tx.id), |effects| {
                effects.snapshots.push((stream, snapshot.clone()));
            })
        })
    }

    pub(crate) fn get_snapshot(stream: &str) -> Result<Option<Snapshot>, Error> {
        with(|state| {
            let stream = scoped(state, stream);
            Ok(state.snapshots.get(&stream).cloned())
        })
    }
}

/// Live channels.
pub(crate) mod live {
    use crate::{
        bindings::pyairtable::{events::live::Message, types::errors::Error},
        testing::state::with,
    };

    pub(crate) fn send(channel: &str, message: &Message) -> Result<u64, Error> {
        with(|state| {
            let messages = state.live.entry(channel.to_owned()).or_default();
            messages.push(message.clone());
            Ok(messages.len() as u64)
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as in the contract")]
    pub(crate) fn close(_channel: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// Mail.
pub(crate) mod mailer {
    use crate::{
        bindings::pyairtable::{
            mail::mailer::Message,
            types::errors::{Error, ErrorClass},
        },
        testing::{
            imports::sql::Transaction,
            state::{error, with},
        },
    };

    pub(crate) fn send(message: &Message, tx: Option<&Transaction>) -> Result<String, Error> {
        if message.to.is_empty()
            || message.to.len() > 50
            || message.to.iter().any(|to| !to.contains('@') || to.contains(['\r', '\n']))
        {
            return Err(error(ErrorClass::Invalid, "mail.address", "not a mailbox"));
        }
        if message.subject.contains(['\r', '\n']) {
            return Err(error(ErrorClass::Invalid, "mail.header", "a line break"));
        }
        with(|state| {
            state.check("mail/mailer")?;
            state.granted(|grants| grants.mail())?;
            let id = format!("<{}@test>", state.next_uuid());
            state.effect(tx.map(|tx| tx.id), |effects| effects.mails.push(message.clone()))?;
            Ok(id)
        })
    }
}

/// Jobs.
pub(crate) mod jobs {
    use crate::{
        bindings::pyairtable::{
            service::jobs::{JobSpec, JobState, JobStatus},
            types::errors::{Error, ErrorClass},
        },
        testing::{
            imports::sql::Transaction,
            state::{State, StoredJob, error, with},
        },
    };

    fn is_open(job: &StoredJob) -> bool {
        matches!(job.state, JobState::Waiting | JobState::Running)
    }

    fn known(state: &State) -> impl Iterator<Item = &StoredJob> {
        let open = state.transaction.iter().flat_map(|open| &open.effects.jobs);
        state.jobs.iter().chain(open)
    }

    pub(crate) fn put(spec: &JobSpec, tx: Option<&Transaction>) -> Result<String, Error> {
        if spec.payload.len() > 256 << 10 {
            return Err(error(ErrorClass::Invalid, "jobs.too-large", "over 256 KiB"));
        }
        with(|state| {
            state.check("service/jobs")?;
            state.granted(|grants| grants.job(&spec.kind))?;
            if state.service.job(&spec.kind).is_none() {
                return Err(error(
                    ErrorClass::Denied,
                    "jobs.kind",
                    format!("the service does no jobs of the kind {}", spec.kind),
                ));
            }
            if spec.key.is_some() {
                let tenant = state.tenant();
                let same = known(state).find(|job| {
                    is_open(job)
                        && job.spec.kind == spec.kind
                        && job.spec.key == spec.key
                        && job.caller.tenant == tenant
                });
                if let Some(job) = same {
                    return Ok(job.id.clone());
                }
            }
            let id = state.next_uuid();
            let job = StoredJob {
                id: id.clone(),
                spec: spec.clone(),
                caller: state.caller.clone(),
                state: JobState::Waiting,
                attempt: 0,
                progress: (0, String::new()),
                output: None,
                last_error: None,
            };
            state.effect(tx.map(|tx| tx.id), |effects| effects.jobs.push(job))?;
            Ok(id)
        })
    }

    pub(crate) fn cancel(id: &str, tx: Option<&Transaction>) -> Result<bool, Error> {
        with(|state| {
            let there = state.jobs.iter().any(|job| job.id == id && is_open(job));
            if there {
                state
                    .effect(tx.map(|tx| tx.id), |effects| effects.cancelled.push(id.to_owned()))?;
            }
            Ok(there)
        })
    }

    pub(crate) fn status(id: &str) -> Result<JobStatus, Error> {
        with(|state| {
            let job = state
                .jobs
                .iter()
                .find(|job| job.id == id)
                .ok_or_else(|| error(ErrorClass::NotFound, "jobs.not-found", "no such job"))?;
            Ok(JobStatus {
                id: job.id.clone(),
                kind: job.spec.kind.clone(),
                state: job.state,
                attempt: job.attempt,
                progress: job.progress.0,
                note: job.progress.1.clone(),
                output: job.output.clone(),
                last_error: job.last_error.clone(),
            })
        })
    }

    /// A job that is running.
    #[derive(Debug)]
    pub(crate) struct Job {
        pub(crate) id: String,
        pub(crate) spec: JobSpec,
        pub(crate) attempt: u32,
    }

    impl Job {
        pub(crate) fn id(&self) -> String {
            self.id.clone()
        }

        pub(crate) fn kind(&self) -> String {
            self.spec.kind.clone()
        }

        pub(crate) fn key(&self) -> Option<String> {
            self.spec.key.clone()
        }

        pub(crate) fn payload(&self) -> Vec<u8> {
            self.spec.payload.clone()
        }

        pub(crate) fn payload_version(&self) -> u32 {
            self.spec.payload_version
        }

        pub(crate) fn attempt(&self) -> u32 {
            self.attempt
        }

        pub(crate) fn progress(&self, percent: u8, note: &str) -> Result<(), Error> {
            with(|state| match state.jobs.iter_mut().find(|job| job.id == self.id) {
                Some(job) if job.state == JobState::Running => {
                    job.progress = (percent.min(100), note.to_owned());
                    Ok(())
                }
                _ => Err(error(ErrorClass::Conflict, "jobs.lost", "the job is not ours")),
            })
        }
    }
}
