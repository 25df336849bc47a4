//! Many clients at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use tokio::task::JoinSet;

use crate::{Answer, Http};

/// Clients that ask the same again and again, each on its own connection.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Report>,
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

    fn add(&mut self, other: Self) {
        for (word, count) in other.seen {
            *self.seen.entry(word).or_default() += count;
        }
        self.broken.extend(other.broken);
    }
}

impl Load {
    /// Starts `clients` clients; `judge` names what came back.
    #[must_use]
    pub fn start(http: &Http, path: &str, clients: usize, judge: fn(&Answer) -> String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (stop, path, http) = (Arc::clone(&stop), path.to_owned(), http.clone());
            tasks.spawn(async move {
                let mut report = Report::default();
                while !stop.load(Ordering::Relaxed) {
                    match http.try_send(Method::GET, &path, None).await {
                        Ok(answer) => *report.seen.entry(judge(&answer)).or_default() += 1,
                        Err(error) => report.broken.push(error),
                    }
                }
                report
            });
        }
        Self { stop, clients: tasks }
    }

    /// Stops them and sums up.
    pub async fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report::default();
        while let Some(one) = self.clients.join_next().await {
            report.add(one.expect("a client does not panic"));
        }
        report
    }
}
