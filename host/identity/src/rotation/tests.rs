use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::{sync::Semaphore, time::sleep};

use super::*;
use crate::{
    svid::{Validity, seconds},
    testing::{DAY, HOUR, START, TestAuthority, Wall, domain, id},
};

/// An issuer that can be told to fail and to wait, and remembers what it was asked for.
#[derive(Debug)]
struct Fake {
    authority: Mutex<TestAuthority>,
    bundle: Mutex<TrustBundle>,
    clock: Clock,
    failing: AtomicBool,
    /// Whom it answers a certificate of, instead of who was asked for.
    instead: Mutex<Option<SpiffeId>>,
    gate: Semaphore,
    asked: Mutex<Vec<String>>,
    forgotten: Mutex<Vec<SpiffeId>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Fake {
    fn new(clock: &Clock) -> Arc<Self> {
        let authority = TestAuthority::new();
        Arc::new(Self {
            bundle: Mutex::new(authority.bundle()),
            authority: Mutex::new(authority),
            clock: clock.clone(),
            failing: AtomicBool::new(false),
            instead: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            asked: Mutex::default(),
            forgotten: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        })
    }

    fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

#[async_trait]
impl Issuer for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    async fn issue(&self, id: &SpiffeId) -> Result<Issued, IssueError> {
        self.asked.lock().push(id.workload().unwrap().1.to_owned());
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_running.fetch_max(running, Ordering::Relaxed);
        let under_way = UnderWay(&self.running);
        self.gate.acquire().await.unwrap().forget();
        drop(under_way);
        if self.failing.load(Ordering::Relaxed) {
            return Err(IssueError::Unavailable("it is told to fail".to_owned()));
        }
        let now = seconds(&self.clock);
        let validity = Validity { not_before: now - 60, not_after: now + DAY };
        let id = self.instead.lock().clone().unwrap_or_else(|| id.clone());
        let svid = self.authority.lock().svid_for(&id, validity);
        Ok(Issued { svid, bundle: self.bundle.lock().clone() })
    }

    async fn bundle(&self) -> Result<Option<TrustBundle>, IssueError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(IssueError::Unavailable("it is told to fail".to_owned()));
        }
        Ok(Some(self.bundle.lock().clone()))
    }

    fn forget(&self, id: &SpiffeId) {
        self.forgotten.lock().push(id.clone());
    }
}

/// A request that ends when it is answered or given up.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Fixture {
    fake: Arc<Fake>,
    identities: Identities,
    rotation: Rotation,
}

impl Fixture {
    /// On tokio's paused clock.
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::on(&Clock::simulated(START * 1_000_000), config)
    }

    fn on(clock: &Clock, config: Config) -> Self {
        let fake = Fake::new(clock);
        let bundle = fake.bundle.lock().clone();
        let identities = Identities::new(bundle, Vec::new(), clock.clone());
        let issuer: Arc<dyn Issuer> = fake.clone();
        let rotation = Rotation::start(identities.clone(), issuer, clock.clone(), config);
        Self { fake, identities, rotation }
    }

    /// Wants it and waits for it.
    async fn require(&self, service: &str) -> Result<Arc<Svid>> {
        self.rotation.want(&id(service), Priority::Background);
        self.rotation.require(&id(service), Deadline::after(Duration::from_secs(30))).await
    }

    fn serial(&self, service: &str) -> Option<String> {
        self.identities.svid(&id(service)).map(|svid| svid.serial().to_owned())
    }

    fn status(&self, service: &str) -> IdentityStatus {
        let all = self.rotation.status();
        all.into_iter().find(|status| status.id == id(service)).unwrap()
    }
}

/// Lets the paused clock go on.
async fn pass(seconds: i64) {
    sleep(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
}

/// Lets everybody do what can be done without time.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn certificates_are_renewed_at_half_of_their_life_again_and_again() {
    let fixture = Fixture::new();
    let first = fixture.require("a").await.unwrap();
    assert_eq!(fixture.status("a").serial.as_deref(), Some(first.serial()));
    pass(DAY * 48 / 100).await;
    assert_eq!(fixture.serial("a").as_deref(), Some(first.serial()));
    assert_eq!(fixture.fake.asked(), 1);
    pass(DAY * 4 / 100).await;
    assert_ne!(fixture.serial("a").as_deref(), Some(first.serial()));
    assert_eq!(fixture.fake.asked(), 2);
    pass(10 * DAY).await;
    assert!((20..=23).contains(&fixture.fake.asked()), "{}", fixture.fake.asked());
    let status = fixture.status("a");
    assert!(status.valid && status.failures == 0 && status.last_error.is_none());
    assert_eq!(status.issuer, "fake");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_stays_in_use_while_renewing_fails() {
    let fixture = Fixture::new();
    let first = fixture.require("a").await.unwrap();
    fixture.fake.failing.store(true, Ordering::Relaxed);
    pass(DAY * 52 / 100).await;
    let status = fixture.status("a");
    assert!(status.valid && status.failures > 0);
    assert!(status.last_error.unwrap().contains("told to fail"));
    assert_eq!(fixture.require("a").await.unwrap().serial(), first.serial());

    // Once the back-off is at its bound, 24 to 30 attempts an hour.
    let before = fixture.fake.asked();
    pass(HOUR).await;
    let attempts = fixture.fake.asked() - before;
    assert!((23..=31).contains(&attempts), "{attempts}");

    pass(DAY / 2).await;
    assert!(!fixture.status("a").valid, "it has run out");
    let refused = fixture.require("a").await.unwrap_err();
    assert!(codes::IDENTITY_UNAVAILABLE.is(&refused), "{refused}");
    assert!(refused.message.contains("told to fail"), "{refused}");

    fixture.fake.failing.store(false, Ordering::Relaxed);
    pass(151).await;
    let status = fixture.status("a");
    assert!(status.valid && status.failures == 0 && status.last_error.is_none());
    assert_ne!(fixture.require("a").await.unwrap().serial(), first.serial());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_gets_nothing_that_the_node_does_not_want() {
    let fixture = Fixture::new();
    let deadline = Deadline::after(Duration::from_secs(5));
    let refused = fixture.rotation.require(&id("a"), deadline).await.unwrap_err();
    assert!(codes::IDENTITY_UNAVAILABLE.is(&refused));
    assert!(fixture.fake.asked() == 0 && fixture.rotation.status().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_does_not_wait_for_a_back_off() {
    let fixture = Fixture::new();
    fixture.fake.failing.store(true, Ordering::Relaxed);
    assert!(fixture.require("a").await.is_err());
    pass(60).await;
    let (asked, now) = (fixture.fake.asked(), Instant::now());
    assert!(fixture.require("a").await.is_err());
    assert_eq!((fixture.fake.asked(), now.elapsed()), (asked, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_urgent_is_asked_for_first() {
    let fixture = Fixture::with(Config { concurrency: 1, ..Config::default() });
    fixture.fake.close_gate();
    fixture.rotation.want(&id("first"), Priority::Background);
    settle().await;
    fixture.rotation.want(&id("background"), Priority::Background);
    fixture.rotation.want(&id("raised"), Priority::Background);
    fixture.rotation.want(&id("warmup"), Priority::Warmup);
    fixture.rotation.want(&id("handshake"), Priority::Background);
    let rotation = fixture.rotation.clone();
    let handshake = tokio::spawn(async move {
        rotation.require(&id("handshake"), Deadline::after(Duration::from_secs(5))).await
    });
    settle().await;
    fixture.rotation.want(&id("raised"), Priority::Warmup);
    fixture.rotation.want(&id("raised"), Priority::Background);
    fixture.fake.gate.add_permits(100);
    handshake.await.unwrap().unwrap();
    pass(1).await;
    let expected = ["first", "handshake", "raised", "warmup", "background"];
    assert_eq!(*fixture.fake.asked.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn few_requests_are_under_way_at_once_and_each_is_bounded() {
    let fixture = Fixture::new();
    fixture.fake.close_gate();
    for number in 0..10 {
        fixture.rotation.want(&id(&format!("s{number}")), Priority::Warmup);
    }
    settle().await;
    assert_eq!(fixture.fake.asked(), 4);
    pass(11).await;
    assert_eq!(fixture.fake.asked(), 8, "those that took too long make room");
    assert!(fixture.status("s0").last_error.unwrap().contains("within 10s"));
    fixture.fake.gate.add_permits(100);
    pass(200).await;
    assert!(fixture.rotation.status().iter().all(|status| status.valid));
    assert_eq!(fixture.fake.most_running.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_waiting_and_not_the_attempt() {
    let fixture = Fixture::new();
    fixture.fake.close_gate();
    fixture.rotation.want(&id("a"), Priority::Background);
    let deadline = Deadline::after(Duration::from_secs(2));
    let refused = fixture.rotation.require(&id("a"), deadline).await.unwrap_err();
    assert!(codes::IDENTITY_UNAVAILABLE.is(&refused));
    fixture.fake.gate.add_permits(1);
    settle().await;
    assert!(fixture.require("a").await.is_ok());
    assert_eq!(fixture.fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_forgotten_gets_nothing_any_more() {
    let fixture = Fixture::new();
    fixture.fake.close_gate();
    fixture.rotation.want(&id("a"), Priority::Warmup);
    let rotation = fixture.rotation.clone();
    let waiting = tokio::spawn(async move {
        rotation.require(&id("a"), Deadline::after(Duration::from_secs(5))).await
    });
    settle().await;
    fixture.rotation.forget(&id("a"));
    assert_eq!(*fixture.fake.forgotten.lock(), [id("a")]);
    assert!(waiting.await.unwrap().is_err());
    fixture.fake.gate.add_permits(1);
    settle().await;
    assert_eq!(fixture.serial("a"), None);
    assert_eq!(fixture.fake.forgotten.lock().len(), 2, "also what was under way");
    assert!(fixture.rotation.status().is_empty());
    fixture.fake.gate.add_permits(1);
    fixture.require("a").await.unwrap();
    fixture.rotation.forget(&id("a"));
    assert_eq!(fixture.serial("a"), None);
    let asked = fixture.fake.asked();
    pass(3 * DAY).await;
    assert_eq!(fixture.fake.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_renewed_when_it_is_due() {
    let fixture = Fixture::new();
    let validity = Validity { not_before: START - 60, not_after: START + DAY };
    let svid = fixture.fake.authority.lock().svid_for(&id("a"), validity);
    fixture.identities.install(svid).unwrap();
    fixture.rotation.want(&id("a"), Priority::Warmup);
    fixture.require("a").await.unwrap();
    pass(DAY * 48 / 100).await;
    assert_eq!(fixture.fake.asked(), 0);
    pass(DAY * 4 / 100).await;
    assert_eq!(fixture.fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_wrong_change_nothing() {
    let fixture = Fixture::new();
    let first = fixture.require("a").await.unwrap();
    let trusted = fixture.identities.bundle();
    // A certificate of somebody else.
    *fixture.fake.instead.lock() = Some(id("b"));
    pass(DAY * 52 / 100).await;
    assert!(fixture.status("a").last_error.unwrap().contains("sa/b"));
    *fixture.fake.instead.lock() = None;
    // One that the bundle, which comes with it, does not vouch for.
    let stranger = TestAuthority::new();
    *fixture.fake.bundle.lock() = TrustBundle::new(domain(), [stranger.certificate], 0).unwrap();
    pass(HOUR).await;
    assert!(fixture.status("a").last_error.unwrap().contains("UnknownIssuer"));
    assert_eq!(fixture.identities.bundle(), trusted);
    assert_eq!(fixture.require("a").await.unwrap().serial(), first.serial());
    assert_eq!(fixture.serial("b"), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_bundle_is_found_and_an_old_one_not_taken_back() {
    let fixture = Fixture::new();
    fixture.require("a").await.unwrap();
    let old = fixture.fake.authority.lock().certificate.clone();
    let new = TestAuthority::new();
    let of = |roots: &[&rustls::pki_types::CertificateDer<'static>], sequence| {
        let roots = roots.iter().map(|root| (*root).clone());
        TrustBundle::new(domain(), roots, sequence).unwrap()
    };
    let both = of(&[&old, &new.certificate], 5);
    *fixture.fake.bundle.lock() = both.clone();
    pass(301).await;
    assert_eq!(fixture.identities.bundle(), both);
    *fixture.fake.bundle.lock() = of(&[&old], 4);
    pass(301).await;
    assert_eq!(fixture.identities.bundle(), both);

    // The new root signs, and the old one is taken away: everybody is renewed at once.
    let (alone, serial) = (of(&[&new.certificate], 6), fixture.serial("a"));
    *fixture.fake.authority.lock() = new;
    *fixture.fake.bundle.lock() = alone.clone();
    pass(301).await;
    assert_eq!(fixture.identities.bundle(), alone);
    assert_ne!(fixture.serial("a"), serial);
    assert!(fixture.status("a").valid && fixture.status("a").last_error.is_none());

    fixture.fake.failing.store(true, Ordering::Relaxed);
    pass(301).await;
    assert!(fixture.rotation.bundle_error().unwrap().contains("told to fail"));
    fixture.fake.failing.store(false, Ordering::Relaxed);
    pass(301).await;
    assert_eq!(fixture.rotation.bundle_error(), None);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_given_from_outside_renews_what_it_does_not_vouch_for() {
    let fixture = Fixture::new();
    fixture.require("a").await.unwrap();
    let new = TestAuthority::new();
    let (bundle, serial) =
        (TrustBundle::new(domain(), [new.certificate.clone()], 9), fixture.serial("a"));
    let bundle = bundle.unwrap();
    *fixture.fake.authority.lock() = new;
    *fixture.fake.bundle.lock() = bundle.clone();
    fixture.rotation.set_bundle(bundle);
    settle().await;
    assert_ne!(fixture.serial("a"), serial);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_is_noticed_within_a_minute() {
    let wall = Wall::new();
    let fixture = Fixture::on(&wall.clock(), Config::default());
    let first = fixture.require("a").await.unwrap();
    pass(DAY).await;
    assert_eq!(fixture.serial("a").as_deref(), Some(first.serial()), "its clock stands still");
    wall.advance(DAY * 6 / 10);
    pass(61).await;
    assert_ne!(fixture.serial("a").as_deref(), Some(first.serial()));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_last_clone() {
    let fixture = Fixture::new();
    fixture.require("a").await.unwrap();
    let Fixture { fake, identities, rotation } = fixture;
    let clone = rotation.clone();
    drop(rotation);
    settle().await;
    assert!(Arc::strong_count(&fake) > 1);
    drop(clone);
    settle().await;
    assert_eq!(Arc::strong_count(&fake), 1);
    assert!(identities.valid_svid(&id("a")).is_some(), "what was there stays");
}
