//! Passwords: Argon2id (RFC 9106) with OWASP's minimum, and verification of old bcrypt hashes.
//!
//! Hashing takes tens of milliseconds of one core and 19 MiB, by design. It runs on threads of
//! its own, so many as are allowed, each with memory that it keeps; what waits is bounded, and
//! what is over is told to come back.

mod work;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use airhost_core::{Result, codes};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use work::{Answer, Work, Worker};

/// Longest password, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// What a hash takes, roughly, on a slow core: what a caller is told to wait for each that is
/// before it.
const TYPICAL: Duration = Duration::from_millis(60);

/// Whether a password is right, and whether its hash should be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The password is right.
    pub matches: bool,
    /// The hash was made by bcrypt or with weaker parameters than today's.
    pub outdated: bool,
}

/// Threads that hash passwords. They end when this is dropped.
pub struct Passwords {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    threads: usize,
}

struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Answer>>,
}

impl Passwords {
    /// Starts `threads` threads (at least one), with room for `queue` calls that wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, queue: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, receiver) = sync_channel::<Job>(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..threads {
            let (receiver, waiting) = (Arc::clone(&receiver), Arc::clone(&waiting));
            std::thread::Builder::new()
                .name("password".to_owned())
                .spawn(move || run(&receiver, &waiting))?;
        }
        Ok(Self { jobs, waiting, threads })
    }

    /// A PHC string with a new salt. `password.length`, `password.busy`.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let password = checked(password)?;
        match self.run(Work::Hash { password }).await? {
            Answer::Hash(hash) => Ok(hash),
            Answer::Verdict(_) => Err(codes::INTERNAL.error("a hash was expected")),
        }
    }

    /// Compares a password with its hash. `password.length`, `password.format`, `password.busy`.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<Verdict> {
        let password = checked(password)?;
        let hash = Box::new(work::Stored::parse(hash)?);
        match self.run(Work::Verify { password, hash }).await? {
            Answer::Verdict(verdict) => Ok(verdict),
            Answer::Hash(_) => Err(codes::INTERNAL.error("a verdict was expected")),
        }
    }

    /// Spends the time of [`Self::verify`], for a user that does not exist.
    pub async fn verify_nothing(&self, password: &str) -> Result<()> {
        let password = checked(password)?;
        self.run(Work::Verify { password, hash: Box::new(work::Stored::nobody()) }).await?;
        Ok(())
    }

    async fn run(&self, work: Work) -> Result<Answer> {
        let (answer, result) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.jobs.try_send(Job { work, answer }) {
            let before = self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => codes::PASSWORD_BUSY
                    .error("too many passwords are being hashed at once")
                    .retry_after(
                        TYPICAL * u32::try_from(before.div_ceil(self.threads)).unwrap_or(1),
                    ),
                TrySendError::Disconnected(_) => {
                    codes::INTERNAL.error("the threads that hash passwords have ended")
                }
            });
        }
        result.await.map_err(|_| codes::INTERNAL.error("hashing a password failed"))?
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("threads", &self.threads)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

fn checked(password: &str) -> Result<Zeroizing<String>> {
    if (1..=MAX_LENGTH).contains(&password.len()) {
        Ok(Zeroizing::new(password.to_owned()))
    } else {
        Err(codes::PASSWORD_LENGTH.error("a password is 1 to 1024 bytes"))
    }
}

fn run(receiver: &Mutex<Receiver<Job>>, waiting: &AtomicUsize) {
    let mut worker = Worker::default();
    loop {
        // One thread waits in the channel, the others for the lock: the same to a caller.
        let Ok(Job { work, answer }) = receiver.lock().recv() else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        // The caller may have left while the job waited.
        if answer.is_closed() {
            continue;
        }
        let done = catch_unwind(AssertUnwindSafe(|| worker.work(&work)));
        // After a panic the sender is dropped, and the caller gets an error. Whether the caller
        // still listens does not matter.
        if let Ok(done) = done {
            let _received = answer.send(done);
        }
    }
}

#[cfg(test)]
mod tests;
