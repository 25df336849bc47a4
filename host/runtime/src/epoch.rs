//! The clock that running guests look at: a thread that moves the engine's epoch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::error::Error;

/// How often a running guest looks at the clock: others wait for one that computes for long no
/// longer than two of these.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks that nobody looked at, after which the clock stands still.
const IDLE_TICKS: u32 = 50;

/// The clock. It stands still while no guest runs, so that an idle node costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Whether a guest ran since the last tick.
    looked_at: AtomicBool,
    standing: AtomicBool,
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Clock {
    /// A clock that moves the engine's epoch until it is stopped or the engine is gone.
    pub(crate) fn start(engine: &wasmtime::Engine) -> Result<Arc<Self>, Error> {
        let clock = Arc::new(Self::default());
        let (engine, thread) = (engine.weak(), Arc::clone(&clock));
        std::thread::Builder::new()
            .name("airhost-epoch".to_owned())
            .spawn(move || {
                thread.run(|| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
            })
            .map_err(Error::Thread)?;
        Ok(clock)
    }

    /// A guest runs: the clock has to move. Cheap where it does.
    pub(crate) fn look(&self) {
        if self.looked_at.load(Ordering::Relaxed) {
            return;
        }
        // Against the two in `stand_still`: one of the threads sees what the other has written.
        self.looked_at.store(true, Ordering::SeqCst);
        if self.standing.load(Ordering::SeqCst) {
            // The thread holds the lock between its last look and its sleep.
            let _stopped = self.stopped.lock();
            self.wake.notify_one();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.wake.notify_one();
    }

    /// Ticks until it is stopped or `tick` says that there is no need any more.
    fn run(&self, tick: impl Fn() -> bool) {
        let mut stopped = self.stopped.lock();
        let mut idle = 0;
        while !*stopped {
            if idle < IDLE_TICKS {
                self.wake.wait_for(&mut stopped, TICK);
            } else {
                self.standing.store(true, Ordering::SeqCst);
                while !*stopped && !self.looked_at.load(Ordering::SeqCst) {
                    self.wake.wait(&mut stopped);
                }
                self.standing.store(false, Ordering::SeqCst);
                idle = 0;
                continue;
            }
            if !tick() {
                return;
            }
            idle = if self.looked_at.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn it_stands_still_until_a_guest_runs_and_moves_again_then() {
        let clock = Arc::new(Clock::default());
        let (ticked, ticks) = mpsc::channel();
        let moving = Arc::clone(&clock);
        let thread = thread::spawn(move || moving.run(|| ticked.send(()).is_ok()));
        for _ in 0..3 {
            // Whatever it did before, it stops by itself after so many.
            for _ in 0..IDLE_TICKS {
                ticks.recv_timeout(PATIENCE).expect("it ticks");
            }
            while !clock.standing.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert_eq!(ticks.try_iter().count(), 0);
            clock.look();
            // The one that is looked at does not count among the idle ones.
            ticks.recv_timeout(PATIENCE).expect("it ticks again");
        }
        clock.stop();
        thread.join().expect("it ends");
    }

    #[test]
    fn it_moves_on_while_guests_run() {
        let clock = Arc::new(Clock::default());
        let (ticked, ticks) = mpsc::channel();
        let moving = Arc::clone(&clock);
        let thread = thread::spawn(move || {
            moving.run(|| {
                moving.look();
                ticked.send(()).is_ok()
            });
        });
        for _ in 0..IDLE_TICKS * 4 {
            ticks.recv_timeout(PATIENCE).expect("it ticks");
        }
        assert!(!clock.standing.load(Ordering::SeqCst));
        clock.stop();
        thread.join().expect("it ends");
    }
}
