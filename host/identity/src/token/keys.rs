use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use airhost_core::{
    Call, CallContext, Caller, Deadline, Dispatch, Error, Request, Result, Target, codes,
};
use arc_swap::ArcSwapOption;
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::jwks::{KeySet, MAX_SET};

/// Where the keys are.
const SERVICE: &str = "auth-service";
const ADDRESS: &str = "http://auth-service/.well-known/jwks.json";
/// What fetching may take.
const FETCH: Duration = Duration::from_secs(5);
/// Keys that are older are fetched again in the background.
const STALE: Duration = Duration::from_secs(300);
/// Keys that are older are not used any more.
const GONE: Duration = Duration::from_secs(24 * 3600);
/// How often an unknown `kid` may lead to a fetch: anyone can make one up.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How soon after a failure the next fetch may begin.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be done before keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// They can be used, and should be fetched again.
    Stale,
    /// There are none, or they are too old.
    Missing,
}

/// The keys that tokens are verified with.
pub(super) struct Keys {
    current: ArcSwapOption<Loaded>,
    source: Option<Arc<dyn Dispatch>>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
    /// When the last fetch ended, and whether it failed.
    last: Mutex<Option<(Instant, bool)>>,
    behind: AtomicBool,
}

struct Loaded {
    keys: Arc<KeySet>,
    /// None for keys that do not change.
    at: Option<Instant>,
}

impl Keys {
    pub(super) fn fetched(dispatch: Arc<dyn Dispatch>) -> Self {
        Self::build(None, Some(dispatch))
    }

    pub(super) fn fixed(keys: KeySet) -> Self {
        Self::build(Some(Loaded { keys: Arc::new(keys), at: None }), None)
    }

    fn build(loaded: Option<Loaded>, source: Option<Arc<dyn Dispatch>>) -> Self {
        Self {
            current: ArcSwapOption::from(loaded.map(Arc::new)),
            source,
            fetching: tokio::sync::Mutex::new(()),
            last: Mutex::new(None),
            behind: AtomicBool::new(false),
        }
    }

    /// The keys that are there, if any.
    pub(super) fn current(&self) -> Arc<KeySet> {
        let loaded = self.current.load();
        loaded.as_ref().map(|loaded| Arc::clone(&loaded.keys)).unwrap_or_default()
    }

    pub(super) fn freshness(&self) -> Freshness {
        match self.current.load().as_ref().map(|loaded| loaded.at.map(|at| at.elapsed())) {
            None => Freshness::Missing,
            Some(Some(age)) if age > GONE => Freshness::Missing,
            Some(Some(age)) if age > STALE => Freshness::Stale,
            Some(_) => Freshness::Fresh,
        }
    }

    /// Whether a key that is not there may be looked for.
    pub(super) fn may_look_again(&self) -> bool {
        self.source.is_some()
            && self.last.lock().is_none_or(|(ended, _)| ended.elapsed() >= LOOK_AGAIN)
    }

    /// Whether the caller is to fetch in the background; it says when it is done.
    pub(super) fn begin_behind(&self) -> bool {
        let failed_now =
            self.last.lock().is_some_and(|(ended, failed)| failed && ended.elapsed() < LOOK_AGAIN);
        !failed_now && !self.behind.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_behind(&self) {
        self.behind.store(false, Ordering::Release);
    }

    /// Fetches the keys, unless someone else did while this waited for its turn. Answers whether
    /// a key was withdrawn.
    pub(super) async fn fetch(&self) -> Result<bool> {
        let Some(source) = &self.source else { return Ok(false) };
        let asked = Instant::now();
        let _turn = self.fetching.lock().await;
        if let Some((ended, failed)) = *self.last.lock() {
            if !failed && ended >= asked {
                return Ok(false);
            }
            if failed && ended.elapsed() < RETRY {
                return Err(unavailable("the last attempt to fetch the keys has just failed"));
            }
        }
        let fetched = get(source.as_ref()).await;
        let failed = fetched.is_err();
        *self.last.lock() = Some((Instant::now(), failed));
        let keys = fetched.inspect_err(|error| {
            tracing::warn!(code = %error.code, reason = %error.message, "no token keys");
        })?;
        let withdrawn = keys.lacks_one_of(&self.current());
        let loaded = Loaded { keys: Arc::new(keys), at: Some(Instant::now()) };
        self.current.store(Some(Arc::new(loaded)));
        Ok(withdrawn)
    }
}

async fn get(source: &dyn Dispatch) -> Result<KeySet> {
    let deadline = Deadline::after(FETCH);
    let service =
        SERVICE.parse().map_err(|_| codes::INTERNAL.error("auth-service is not a name"))?;
    let mut request = Request::default();
    *request.uri_mut() = Uri::from_static(ADDRESS);
    let call = Call {
        target: Target::Service(service),
        request,
        context: CallContext::root(Caller::Host, deadline),
        attrs: Vec::new(),
        pool: None,
    };
    let read = async {
        let response = source
            .dispatch(call)
            .await
            .map_err(|error| unavailable(&format!("auth-service: {}", error.code)))?;
        if response.status() != StatusCode::OK {
            return Err(unavailable(&format!("auth-service answered {}", response.status())));
        }
        let body = response
            .into_body()
            .collect(MAX_SET)
            .await
            .map_err(|error| unavailable(&format!("auth-service: {error}")))?;
        let keys = KeySet::parse(&body).map_err(|error| unavailable(&error.to_string()))?;
        if keys.is_empty() {
            return Err(unavailable("auth-service publishes no key that can be used"));
        }
        Ok(keys)
    };
    timeout_at(deadline.instant(), read)
        .await
        .unwrap_or_else(|_| Err(unavailable("auth-service did not answer in 5 s")))
}

pub(super) fn unavailable(message: &str) -> Error {
    codes::PRINCIPAL_KEYS.error(message).retry_after(RETRY)
}
