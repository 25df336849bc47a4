//! Tasks with names, tracked so that a drain can wait for them and say what it waits for.

use std::{collections::BTreeMap, future::Future, sync::LazyLock};

use airhost_core::Deadline;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

static GLOBAL: LazyLock<Tasks> = LazyLock::new(Tasks::new);

/// Spawns a task of this process's [`global`] set, in place of `tokio::spawn`.
///
/// The name is for people: `accept`, `outbox-relay`. A panic is logged with it.
pub fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    GLOBAL.spawn(name, future)
}

/// The tasks of this process.
#[must_use]
pub fn global() -> &'static Tasks {
    &GLOBAL
}

/// A set of tasks that end together.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    running: std::sync::Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// What a drain left behind, by name; empty when everything ended in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left(pub Vec<(&'static str, usize)>);

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            running: std::sync::Arc::default(),
        }
    }

    /// Spawns a task of this set.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let running = Running::enter(self, name);
        self.tracker.spawn(async move {
            let _running = running;
            future.await
        })
    }

    /// Cancelled when a drain begins: loops end on it, work that is under way does not.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// How many tasks run, by name.
    #[must_use]
    pub fn running(&self) -> Vec<(&'static str, usize)> {
        self.running.lock().iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// Tells the tasks to stop and waits until they have, or the deadline is over. Tasks may
    /// still be spawned meanwhile, since finishing work may need some.
    pub async fn drain(&self, deadline: Deadline) -> Left {
        self.stopping.cancel();
        self.tracker.close();
        // What is left is what the answer says.
        let _in_time = tokio::time::timeout_at(deadline.instant(), self.tracker.wait()).await;
        Left(self.running())
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a task while it lives.
struct Running {
    tasks: Tasks,
    name: &'static str,
}

impl Running {
    fn enter(tasks: &Tasks, name: &'static str) -> Self {
        *tasks.running.lock().entry(name).or_default() += 1;
        Self { tasks: tasks.clone(), name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked");
        }
        let mut running = self.tasks.running.lock();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_work_and_names_what_is_left() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping().clone();
        tasks.spawn("loop", async move { stopping.cancelled().await });
        tasks.spawn("work", tokio::time::sleep(Duration::from_secs(2)));
        tasks.spawn("stuck", std::future::pending::<()>());
        assert_eq!(tasks.running(), [("loop", 1), ("stuck", 1), ("work", 1)]);
        let before = tokio::time::Instant::now();
        let left = tasks.drain(Deadline::after(Duration::from_secs(5))).await;
        assert_eq!(left, Left(vec![("stuck", 1)]));
        assert_eq!(before.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_drain_ends_with_the_last_task_and_survives_a_panic() {
        let tasks = Tasks::new();
        let result = tasks.spawn("answer", async { 42 });
        assert_eq!(result.await.unwrap(), 42);
        let panicked = tasks.spawn("broken", async { panic!("on purpose") });
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(tasks.drain(Deadline::after(Duration::from_secs(5))).await, Left(Vec::new()));
    }
}
