//! The running simulator's state, shared by all requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{SimConfig, World};
use crate::edit::{Edit, Tx};
use crate::error::Result;
use crate::faults::Observer;
use crate::ids::Ids;
use crate::limits::Limiter;
use crate::model::{Blob, Data};
use crate::notify::Notifier;
use crate::persist::DataFile;
use crate::reply::{ApiError, ApiResult};
use crate::select::Iterators;
use crate::store::Store;
use crate::world::{self, SavedWorld};

/// The simulator.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: SimConfig,
    pub(crate) public_url: String,
    pub(crate) data: Store,
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
    /// Loads the data from `file` when it is there, else from the world of the configuration.
    pub(crate) fn new(
        config: SimConfig,
        address: &str,
        file: Option<&DataFile>,
    ) -> Result<Arc<Self>> {
        let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let public_url = public_url.trim_end_matches('/').to_owned();
        let kept = match file {
            Some(file) => file.load()?,
            None => None,
        };
        let loaded = match kept {
            Some(kept) => {
                if !matches!(config.world, World::Demo) {
                    tracing::warn!("the data file is there: the bases asked for are not read");
                }
                kept
            }
            None => world::load(&config.world)?,
        };
        let ids = Ids::new(config.seed.map(|seed| loaded.ids.unwrap_or(seed)));
        Ok(Arc::new(Self {
            data: Store::new(Self::settle(loaded, &config, &public_url)?),
            public_url,
            iterators: Mutex::new(Iterators::new(config.guard.iterator_life)),
            ids,
            clock: Clock::new(config.clock),
            limiter: Limiter::new(config.limits.clone()),
            observer: Observer::new(config.guard.log_entries),
            notifier: Notifier::new(config.notify.clone())?,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
        }))
    }

    /// Fits loaded data to this run: the tokens that the configuration names, this run's address.
    fn settle(loaded: world::Loaded, config: &SimConfig, public_url: &str) -> Result<Data> {
        let mut data = loaded.data;
        world::admit(&mut data, &config.tokens)?;
        if let Some(earlier) = loaded.public_url {
            world::readdress(&mut data, &earlier, public_url);
        }
        Ok(data)
    }

    /// The data as it is to be saved, its uploaded files, and the number of its last change.
    pub(crate) fn snapshot(&self) -> (SavedWorld, HashMap<String, Blob>, u64) {
        let (data, change) = self.data.snapshot();
        // Read after the data: no id of the data comes again.
        let ids = self.config.seed.map(|_| self.ids.state());
        let (saved, blobs) = SavedWorld::new(data, ids, self.public_url.clone());
        (saved, blobs, change)
    }

    /// How long requests under way may take once the simulator stops.
    pub(crate) fn drain(&self) -> Duration {
        self.config.guard.drain + Duration::from_secs(1)
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

    /// Brings back the data of the configuration.
    pub(crate) fn reset(&self) -> Result<()> {
        let loaded = world::load(&self.config.world)?;
        let fresh = Self::settle(loaded, &self.config, &self.public_url)?;
        *self.data.write() = fresh;
        self.iterators.lock().clear();
        self.limiter.clear();
        self.observer.clear_rules();
        self.observer.clear_log();
        Ok(())
    }
}
