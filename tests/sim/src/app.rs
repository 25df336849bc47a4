//! The running simulator's state, shared by all requests.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::SimConfig;
use crate::edit::{Edit, Tx};
use crate::error::Result;
use crate::faults::Observer;
use crate::ids::Ids;
use crate::limits::Limiter;
use crate::model::Data;
use crate::notify::Notifier;
use crate::reply::{ApiError, ApiResult};
use crate::select::Iterators;
use crate::world;

/// The simulator.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: SimConfig,
    pub(crate) public_url: String,
    pub(crate) data: RwLock<Data>,
    pub(crate) iterators: Mutex<Iterators>,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) limiter: Limiter,
    pub(crate) observer: Observer,
    pub(crate) notifier: Notifier,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl App {
    pub(crate) fn new(config: SimConfig, address: &str) -> Result<Arc<Self>> {
        let data = world::load(&config.world, &config.tokens)?;
        let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        Ok(Arc::new(Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            data: RwLock::new(data),
            iterators: Mutex::new(Iterators::new(config.guard.iterator_life)),
            ids: Ids::new(config.seed),
            clock: Clock::new(config.clock),
            limiter: Limiter::new(config.limits.clone()),
            observer: Observer::new(config.guard.log_entries),
            notifier: Notifier::new(config.notify.clone()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs one transaction on a base, then notifies its webhooks.
    pub(crate) fn write<T>(
        self: &Arc<Self>,
        base_id: &str,
        user: &str,
        typecast: bool,
        work: impl FnOnce(&mut Tx<'_>) -> ApiResult<T>,
    ) -> ApiResult<T> {
        let mut data = self.data.write();
        let Data { bases, users, .. } = &mut *data;
        let base = bases.get_mut(base_id).ok_or_else(ApiError::forbidden)?;
        let edit = Edit { ids: &self.ids, now: self.clock.now(), user, typecast };
        let mut tx = Tx::new(base, users, edit);
        let result = work(&mut tx);
        // What a failed request did before it failed is told to webhooks as well.
        let notified = tx.finish();
        drop(data);
        for hook in notified {
            self.notifier.ping(self, base_id, &hook);
        }
        result
    }

    /// Brings back the data that the simulator started with.
    pub(crate) fn reset(&self) -> Result<()> {
        let fresh = world::load(&self.config.world, &self.config.tokens)?;
        *self.data.write() = fresh;
        self.iterators.lock().clear();
        self.limiter.clear();
        self.observer.clear_rules();
        self.observer.clear_log();
        Ok(())
    }
}
