//! Threads of low priority, where guests that compute for long go on.
//!
//! Serving threads are for short work: whoever waits for one waits for what it is doing. A guest
//! that has used up its first slice (`cpu`) moves here, with the whole of its call, and from then
//! on has the processor time that the serving threads leave over. Only its computing moves. While
//! it is polled the serving runtime is the current one, so that sockets, timers and tasks that
//! come of what it asks of the host belong there, as ever.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use airhost_core::{Result, codes};
use airhost_telemetry::spawn_named;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

use crate::{cpu, error::Error};

/// Added to the niceness of a thread: it weighs about a tenth of a serving thread then, where both
/// want the same processor (`sched(7)`).
const NICENESS: i32 = 10;

/// A call's work.
type Work<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// The threads. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub(crate) struct Background(Arc<Threads>);

/// None only while it is dropped.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // The last clone may be dropped in an asynchronous task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Background {
    /// As many threads as the machine has processors.
    pub(crate) fn start() -> std::result::Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .thread_name("airhost-background")
            .on_thread_start(lower_priority)
            .build()
            .map_err(Error::Thread)?;
        Ok(Self(Arc::new(Threads(Some(runtime)))))
    }

    /// A call's work that may move here, or begins here.
    pub(crate) fn movable<T, F>(&self, work: F, behind: bool) -> Movable<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let work: Work<T> = Box::pin(work);
        Movable(if behind {
            Place::Background(self.spawn(work))
        } else {
            Place::Serving(work, self.clone())
        })
    }

    fn spawn<T: Send + 'static>(&self, work: Work<T>) -> Moved<T> {
        let work = Visiting { work: Some(work), serving: Handle::current() };
        let _here = self.0.0.as_ref().map(Runtime::enter);
        Moved(spawn_named("computing-guest", work))
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

/// Lets other threads go first, from now on. Linux gives every thread a priority of its own.
pub(crate) fn lower_priority() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "a thread in the background keeps its priority");
    }
}

/// A call's work, wherever it is done. Dropping it ends the work.
pub(crate) struct Movable<T>(Place<T>);

enum Place<T> {
    Serving(Work<T>, Background),
    Background(Moved<T>),
    /// Only while it moves.
    Nowhere,
}

impl<T: Send + 'static> Future for Movable<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Place::Serving(work, _) = &mut self.0 {
            let polled = work.as_mut().poll(context);
            // Asked in any case, so that the answer is never of an earlier guest.
            let long = cpu::used_up_a_slice();
            if polled.is_ready() || !long {
                return polled;
            }
            if let Place::Serving(work, background) = mem::replace(&mut self.0, Place::Nowhere) {
                self.0 = Place::Background(background.spawn(work));
            }
        }
        let Place::Background(moved) = &mut self.0 else {
            return Poll::Ready(Err(codes::INTERNAL.error("a call was polled after its end")));
        };
        Poll::Ready(match ready!(Pin::new(&mut moved.0).poll(context)) {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(codes::CANCELLED_SHUTDOWN.error("the node is shutting down")),
            },
        })
    }
}

/// A task that ends when nobody waits for it any more.
struct Moved<T>(JoinHandle<Result<T>>);

impl<T> Drop for Moved<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Work on a background thread, which belongs to the serving runtime all the same.
struct Visiting<T> {
    /// None only while it is dropped.
    work: Option<Work<T>>,
    serving: Handle,
}

impl<T> Future for Visiting<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _serving = this.serving.enter();
        let Some(work) = &mut this.work else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        // It is here already; the next guest on this thread is another.
        cpu::used_up_a_slice();
        polled
    }
}

impl<T> Drop for Visiting<T> {
    fn drop(&mut self) {
        // What a guest leaves behind may need a task to be put away.
        let _serving = self.serving.enter();
        self.work = None;
    }
}
