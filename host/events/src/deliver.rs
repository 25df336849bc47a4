//! The border to what handles events: the runtime implements it.

use std::{sync::Arc, time::Duration};

use airhost_core::{Result, ServiceName};
use airhost_storage::sql::Transaction;
use async_trait::async_trait;

use crate::Envelope;

/// One event on its way to a handler.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event as it was published.
    pub event: Arc<Envelope>,
    /// 1 for the first try. Halving a batch that failed is the same try: a try counts once the
    /// event has failed alone.
    pub attempt: u32,
    /// Place in the bus; ascending for one topic and subject.
    pub position: u64,
}

/// What became of one delivery; mirrors `outcome` of `wit/events/consumer.wit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; it will not come again.
    Ack,
    /// Try again after so long (none: the consumer's back-off).
    Retry(Option<Duration>),
    /// Give up: it goes to the dead letters with this reason.
    Dead(String),
}

/// Handles events of a service.
#[async_trait]
pub trait Deliver: Send + Sync {
    /// Hands over at most 100 events or 1 MiB, in order for each topic and subject, and answers
    /// one outcome for each, in the same order.
    ///
    /// `tx` was opened by the consumer, which has recorded the events' ids in it and commits or
    /// rolls it back after this returns: the implementation must do neither. There is none in the
    /// mode at-least-once. The future may be dropped at the consumer's deadline.
    ///
    /// # Errors
    /// A trap or a deadline: everything is rolled back and the batch comes again in halves.
    /// `guest.no-revision`, `call.overloaded` and `cancelled.shutdown` say that nothing was tried:
    /// the same batch comes again later and no try is counted.
    async fn deliver(
        &self,
        service: &ServiceName,
        batch: Vec<Delivery>,
        tx: Option<Arc<dyn Transaction>>,
    ) -> Result<Vec<Outcome>>;
}
