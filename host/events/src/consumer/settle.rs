//! Delivering a batch: whole first, then in halves, until what fails stands alone.

use std::{collections::HashSet, sync::Arc, time::Duration};

use airhost_core::{Deadline, Error, Result, codes};
use airhost_storage::sql::{Access, Columns, Transaction, Value};

use super::{
    Consumer, Item, Mode, Origin,
    ledger::{Ledger, NextTry},
};
use crate::{Delivery, Outcome};

/// A transaction lives no longer; waiting for its turn comes on top.
const TRANSACTION: Duration = Duration::from_secs(5);
/// Longest reason that is stored, in characters.
const REASON: usize = 1_000;

/// Why a delivery did not work.
struct Failure {
    reason: String,
    /// When the handler wants it again.
    after: Option<Duration>,
}

/// What became of a chunk.
enum Tried {
    /// Everything in it is done, given up or parked.
    Settled,
    /// Nothing in it is done.
    Failed(Failure),
}

/// What becomes of one event.
enum Verdict {
    Done,
    Again(Failure),
    Dead(String),
}

impl Consumer {
    /// Delivers events until each is done, parked or given up. Answers false when it was told to
    /// pause or stop before that; what is left comes again.
    ///
    /// # Errors
    /// The database fails or the service cannot be reached: what is left comes again.
    pub(super) async fn settle(&mut self, items: Vec<Item>) -> Result<bool> {
        let mut failed = HashSet::new();
        let (plain, transactional) = items
            .into_iter()
            .partition(|item| self.rule(&item.key.topic).mode == Mode::AtLeastOnce);
        let mut stack: Vec<(Mode, Vec<Item>)> =
            vec![(Mode::AtLeastOnce, plain), (Mode::ExactlyOnce, transactional)];
        while let Some((mode, chunk)) = stack.pop() {
            if chunk.is_empty() {
                continue;
            }
            if !self.control.is_active() {
                return Ok(false);
            }
            let (behind, mut chunk): (Vec<_>, Vec<_>) = chunk.into_iter().partition(|item| {
                failed.contains(&item.key)
                    || (item.origin == Origin::Bus && self.blocked.contains(&item.key))
            });
            self.park_behind(&behind).await?;
            if chunk.is_empty() {
                continue;
            }
            let tried = match mode {
                Mode::ExactlyOnce => self.deliver_in_transaction(&chunk).await?,
                Mode::AtLeastOnce => self.deliver_plainly(&chunk, &mut failed).await?,
            };
            match tried {
                Tried::Settled => {}
                Tried::Failed(_) if chunk.len() > 1 => {
                    let right = chunk.split_off(chunk.len() / 2);
                    stack.push((mode, right));
                    stack.push((mode, chunk));
                }
                Tried::Failed(failure) => {
                    let tx = self.begin().await?;
                    let verdict = Verdict::Again(failure);
                    let again = self.conclude(tx.as_ref(), &chunk[0], verdict, mode).await?;
                    tx.commit().await?;
                    self.note(&chunk[0], again, &mut failed);
                }
            }
        }
        self.control.shows_blocked(&self.blocked);
        Ok(true)
    }

    /// Delivers in a transaction of the service's database in which the ids are recorded first.
    async fn deliver_in_transaction(&mut self, chunk: &[Item]) -> Result<Tried> {
        let tx = self.begin().await?;
        let ledger = self.ledger(tx.as_ref());
        let mut fresh: HashSet<String> = ledger.record(chunk).await?.into_iter().collect();
        let items: Vec<&Item> =
            chunk.iter().filter(|item| fresh.remove(&item.record.event.id.to_string())).collect();
        let outcomes = if items.is_empty() {
            Vec::new()
        } else {
            match self.call(&items, Some(Arc::clone(&tx)), TRANSACTION).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    self.roll_back(tx.as_ref()).await;
                    return failure_of(error).map(Tried::Failed);
                }
            }
        };
        let retry = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Retry(after) => Some(*after),
            Outcome::Ack | Outcome::Dead(_) => None,
        });
        if let Some(after) = retry {
            self.roll_back(tx.as_ref()).await;
            return Ok(Tried::Failed(Failure {
                reason: "the handler asked for a retry".into(),
                after,
            }));
        }
        let dead: Vec<(&Item, &str)> = std::iter::zip(&items, &outcomes)
            .filter_map(|(item, outcome)| match outcome {
                Outcome::Dead(reason) => Some((*item, reason.as_str())),
                Outcome::Ack | Outcome::Retry(_) => None,
            })
            .collect();
        let finished = async {
            for (item, reason) in &dead {
                ledger.bury(item, item.attempts.saturating_add(1), &shortened(reason)).await?;
            }
            ledger.unpark(chunk).await?;
            tx.commit().await
        };
        if let Err(error) = finished.await {
            self.roll_back(tx.as_ref()).await;
            return failure_of_transaction(error).map(Tried::Failed);
        }
        self.control.count(|status| {
            status.done += (items.len() - dead.len()) as u64;
            status.dead += dead.len() as u64;
        });
        Ok(Tried::Settled)
    }

    /// Delivers without a transaction and stores what the handler said of each event.
    async fn deliver_plainly(
        &mut self,
        chunk: &[Item],
        failed: &mut HashSet<super::Key>,
    ) -> Result<Tried> {
        let known = self.known(chunk).await?;
        let (old, items): (Vec<&Item>, Vec<&Item>) =
            chunk.iter().partition(|item| known.contains(&item.record.event.id.to_string()));
        let outcomes = if items.is_empty() {
            Vec::new()
        } else {
            match self.call(&items, None, self.config.delivery).await {
                Ok(outcomes) => outcomes,
                Err(error) => return failure_of(error).map(Tried::Failed),
            }
        };
        let tx = self.begin().await?;
        for item in old {
            self.conclude(tx.as_ref(), item, Verdict::Done, Mode::AtLeastOnce).await?;
        }
        let mut results = Vec::with_capacity(items.len());
        for (item, outcome) in std::iter::zip(items, outcomes) {
            let verdict = match outcome {
                Outcome::Ack => Verdict::Done,
                Outcome::Dead(reason) => Verdict::Dead(reason),
                Outcome::Retry(after) => Verdict::Again(Failure {
                    reason: "the handler asked for a retry".into(),
                    after,
                }),
            };
            let result = self.conclude(tx.as_ref(), item, verdict, Mode::AtLeastOnce).await?;
            results.push((item, result));
        }
        tx.commit().await?;
        for (item, result) in results {
            self.note(item, result, failed);
        }
        Ok(Tried::Settled)
    }

    /// Hands items over and answers an outcome for each.
    async fn call(
        &self,
        items: &[&Item],
        tx: Option<Arc<dyn Transaction>>,
        time: Duration,
    ) -> Result<Vec<Outcome>> {
        let batch = items.iter().map(|item| Delivery {
            event: Arc::clone(&item.record.event),
            attempt: item.attempts.saturating_add(1),
            position: item.record.position,
        });
        let call = self.handler.deliver(&self.service, batch.collect(), tx);
        let outcomes = tokio::time::timeout(time, call).await.unwrap_or_else(|_| {
            Err(codes::DEADLINE_EXCEEDED.error("the handler did not finish in time"))
        })?;
        if outcomes.len() == items.len() {
            return Ok(outcomes);
        }
        let (got, given) = (outcomes.len(), items.len());
        Err(codes::GUEST_NO_RESPONSE
            .error(format!("the handler answered {got} outcomes for {given} events")))
    }

    /// Writes what becomes of one event; answers when it is tried again, and whether it was given
    /// up.
    async fn conclude(
        &self,
        tx: &dyn Transaction,
        item: &Item,
        verdict: Verdict,
        mode: Mode,
    ) -> Result<Concluded> {
        let ledger = self.ledger(tx);
        let one = std::slice::from_ref(item);
        let attempts = item.attempts.saturating_add(1);
        let reason = match verdict {
            Verdict::Done => {
                ledger.record(one).await?;
                ledger.unpark(one).await?;
                return Ok(Concluded::Done);
            }
            Verdict::Again(failure) if attempts < self.rule(&item.key.topic).max_attempts => {
                let wait =
                    self.config.backoff.after(attempts).max(failure.after.unwrap_or_default());
                let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                let at = ledger.now.saturating_add(wait);
                let reason = shortened(&failure.reason);
                ledger.park(item, Some(&NextTry { attempts, at, reason })).await?;
                return Ok(Concluded::Again(at));
            }
            Verdict::Again(failure) => failure.reason,
            Verdict::Dead(reason) => reason,
        };
        tracing::warn!(service = %self.service, event = %item.record.event.id, topic = item.key.topic,
            attempts, ?mode, "an event goes to the dead letters");
        ledger.bury(item, attempts, &shortened(&reason)).await?;
        // The bus may bring it once more; a replay takes the id out again.
        ledger.record(one).await?;
        ledger.unpark(one).await?;
        Ok(Concluded::Dead)
    }

    /// Remembers what was committed.
    fn note(&mut self, item: &Item, concluded: Concluded, failed: &mut HashSet<super::Key>) {
        match concluded {
            Concluded::Done => self.control.count(|status| status.done += 1),
            Concluded::Dead => self.control.count(|status| {
                status.failed += 1;
                status.dead += 1;
            }),
            Concluded::Again(due) => {
                self.control.count(|status| status.failed += 1);
                self.blocked.parked(&item.key, Some(due));
                failed.insert(item.key.clone());
            }
        }
    }

    /// Parks events of keys that wait.
    async fn park_behind(&mut self, items: &[Item]) -> Result<()> {
        // What came from the parked table is there.
        let items: Vec<&Item> = items.iter().filter(|item| item.origin == Origin::Bus).collect();
        if items.is_empty() {
            return Ok(());
        }
        let tx = self.begin().await?;
        let ledger = self.ledger(tx.as_ref());
        for item in &items {
            ledger.park(item, None).await?;
        }
        tx.commit().await?;
        for item in items {
            self.blocked.parked(&item.key, None);
        }
        Ok(())
    }

    /// Which of the events are done.
    async fn known(&self, items: &[Item]) -> Result<HashSet<String>> {
        let mut params = Vec::with_capacity(items.len());
        let mut marks = Vec::with_capacity(items.len());
        for item in items {
            params.push(Value::Uuid(item.record.event.id.to_string()));
            marks.push(format!("${}", params.len()));
        }
        let sql =
            format!("SELECT event_id FROM _airhost_inbox WHERE event_id IN ({})", marks.join(", "));
        let rows = self.database.host_query(&sql, params, self.deadline()).await?.rows;
        rows.into_iter().map(|row| Columns::of(row).text()).collect()
    }

    async fn begin(&self) -> Result<Arc<dyn Transaction>> {
        let deadline = Deadline::after(self.config.timeout + TRANSACTION);
        self.database.begin(Access::Write, deadline).await.map(Arc::from)
    }

    fn ledger<'a>(&'a self, tx: &'a dyn Transaction) -> Ledger<'a> {
        Ledger { tx, now: self.config.clock.now_micros() }
    }

    async fn roll_back(&self, tx: &dyn Transaction) {
        match tx.rollback().await {
            Ok(()) => {}
            // It is gone either way.
            Err(error) if codes::TX_CLOSED.is(&error) || codes::TX_EXPIRED.is(&error) => {}
            Err(error) => tracing::warn!(service = %self.service, %error, "a rollback failed"),
        }
    }
}

/// What was written of one event.
#[derive(Clone, Copy)]
enum Concluded {
    Done,
    /// Tried again at this moment.
    Again(i64),
    Dead,
}

/// What a handler's error says of the events; an error where nothing was tried.
fn failure_of(error: Error) -> Result<Failure> {
    let untried = [&codes::GUEST_NO_REVISION, &codes::CALL_OVERLOADED, &codes::CANCELLED_SHUTDOWN];
    if untried.iter().any(|code| code.is(&error)) {
        return Err(error);
    }
    Ok(Failure { reason: error.to_string(), after: error.retry_after })
}

/// What an error at the end of a handler's transaction says: that the handler did with it what
/// cannot be committed, or (an error) that the database cannot be used now.
fn failure_of_transaction(error: Error) -> Result<Failure> {
    use airhost_core::ErrorClass::{Conflict, Deadline, Denied, Invalid};
    match error.class {
        // `tx.expired`, `tx.closed` and deferred constraints.
        Conflict | Deadline | Denied | Invalid => {
            Ok(Failure { reason: error.to_string(), after: None })
        }
        _ => Err(error),
    }
}

fn shortened(reason: &str) -> String {
    // SQL text has no U+0000 on either engine.
    reason.chars().filter(|c| *c != '\0').take(REASON).collect()
}
