//! Who may run now, who waits, who is told to come back.
//!
//! Calls from outside (depth 0) wait in a fair, bounded queue for one of the service's places.
//! Calls that another service makes take such a place too, if one is free, or one of as many that
//! are kept for them; they never wait. So a call that holds a place waits only for calls that
//! hold theirs or were told no: A→B→A under full load ends, whatever the load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use airhost_core::{Deadline, Error, ServiceName, codes};
use airhost_telemetry::metrics::ServiceMetrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When a caller that was told no may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places of one pool.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    queue: usize,
    waiting: AtomicUsize,
    metrics: Arc<ServiceMetrics>,
}

/// One of the places; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Counts itself out when a caller stops waiting, however it does.
struct Waiting<'a>(&'a Admission);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.guest.queue_depth.add(-1);
    }
}

impl Admission {
    pub(crate) fn new(concurrency: usize, queue: usize, metrics: Arc<ServiceMetrics>) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(concurrency)),
            kept: Arc::new(Semaphore::new(concurrency)),
            queue,
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place for a call of this depth.
    ///
    /// # Errors
    /// `call.overloaded`, and `deadline.exceeded` where the call's time ran out in the queue.
    pub(crate) async fn admit(
        &self,
        service: &ServiceName,
        depth: u8,
        deadline: Deadline,
    ) -> Result<Place, Error> {
        // Who waits is served before who comes: a released place goes to the queue's head.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place(place));
        }
        if depth > 0 {
            return match Arc::clone(&self.kept).try_acquire_owned() {
                Ok(place) => Ok(Place(place)),
                Err(_) => Err(overloaded(service)),
            };
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(overloaded(service));
        }
        self.metrics.guest.queue_depth.add(1);
        let _waiting = Waiting(self);
        match tokio::time::timeout_at(deadline.instant(), Arc::clone(&self.places).acquire_owned())
            .await
        {
            Ok(Ok(place)) => Ok(Place(place)),
            Ok(Err(_)) => Err(overloaded(service)),
            Err(_) => Err(codes::DEADLINE_EXCEEDED
                .error(format!("the call to {service} waited for its turn until its time ran out"))
                .retry_after(RETRY_AFTER)),
        }
    }
}

pub(crate) fn overloaded(service: &ServiceName) -> Error {
    codes::CALL_OVERLOADED
        .error(format!("all instances of {service} are busy and its queue is full"))
        .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(concurrency: usize, queue: usize) -> Admission {
        let metrics = airhost_telemetry::metrics::Metrics::new();
        Admission::new(concurrency, queue, metrics.service(&"a".parse().unwrap()))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn outside_calls_wait_in_order_and_the_queue_is_bounded() {
        let admission = Arc::new(admission(1, 1));
        let name: ServiceName = "a".parse().unwrap();
        let first = admission.admit(&name, 0, soon()).await.unwrap();
        let second = tokio::spawn({
            let (admission, name) = (Arc::clone(&admission), name.clone());
            async move { admission.admit(&name, 0, soon()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(admission.waiting(), 1);
        let third = admission.admit(&name, 0, soon()).await.unwrap_err();
        assert_eq!((third.code.as_ref(), third.status().as_u16()), ("call.overloaded", 503));
        assert!(third.retry_after.is_some());
        drop(first);
        assert!(second.await.unwrap().is_ok());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nested_calls_have_places_of_their_own_and_never_wait() {
        let admission = admission(1, 8);
        let name: ServiceName = "a".parse().unwrap();
        let _outside = admission.admit(&name, 0, soon()).await.unwrap();
        let kept = admission.admit(&name, 2, soon()).await.unwrap();
        assert_eq!(admission.admit(&name, 2, soon()).await.unwrap_err().code, "call.overloaded");
        drop(kept);
        assert!(admission.admit(&name, 1, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_deadline() {
        let admission = admission(1, 8);
        let name: ServiceName = "a".parse().unwrap();
        let _busy = admission.admit(&name, 0, soon()).await.unwrap();
        let error = admission
            .admit(&name, 0, Deadline::after(Duration::from_millis(20)))
            .await
            .unwrap_err();
        assert_eq!(error.code, "deadline.exceeded");
        assert_eq!(admission.waiting(), 0);
    }
}
