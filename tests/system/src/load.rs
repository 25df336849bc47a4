//! Many clients at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{Answer, Http};

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Clients that ask the same again and again, each on its own connection.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    clients: JoinSet<()>,
}

/// What they saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answers by a word that the judge gave them.
    pub seen: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub broken: Vec<String>,
}

impl Report {
    /// Answers in all.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.seen.values().sum()
    }
}

impl Load {
    /// Starts `clients` clients; `judge` names what came back.
    #[must_use]
    pub fn start(http: &Http, path: &str, clients: usize, judge: fn(&Answer) -> String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(Report::default()));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (stop, report) = (Arc::clone(&stop), Arc::clone(&report));
            let (path, http) = (path.to_owned(), http.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = http.try_send(Method::GET, &path, None).await;
                    let mut report = report.lock();
                    match answer {
                        Ok(answer) => *report.seen.entry(judge(&answer)).or_default() += 1,
                        Err(error) => report.broken.push(error),
                    }
                }
            });
        }
        Self { stop, report, clients: tasks }
    }

    /// Waits until so many further answers had this word.
    ///
    /// # Panics
    /// Where they do not come in a minute.
    pub async fn seen(&self, word: &str, count: u64) {
        let now = || self.report.lock().seen.get(word).copied().unwrap_or_default();
        let enough = now() + count;
        let wait = async {
            while now() < enough {
                tokio::time::sleep(POLL).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await;
        assert!(came.is_ok(), "not enough answers were `{word}`: {:?}", self.report.lock());
    }

    /// Stops them and sums up.
    pub async fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(one) = self.clients.join_next().await {
            one.expect("a client does not panic");
        }
        std::mem::take(&mut *self.report.lock())
    }
}
