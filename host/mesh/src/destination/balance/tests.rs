use std::collections::BTreeMap as Map;

use airhost_policy::traffic::{ConsistentHash, HashKey, LoadBalancer};
use http::{HeaderMap, HeaderName};
use rand::{SeedableRng, rngs::StdRng};

use super::*;

fn endpoint(nth: u32, weight: u32) -> Arc<Endpoint> {
    let spec = EndpointSpec { weight, ..EndpointSpec::local("n", &format!("{nth:03}")) };
    Arc::new(Endpoint::fresh(spec, u64::from(nth)))
}

fn snapshot(weights: &[u32], load_balancer: LoadBalancer) -> Snapshot {
    let members = weights.iter().zip(0..).map(|(weight, nth)| endpoint(nth, *weight)).collect();
    Snapshot::new(members, &Balancing { load_balancer, ..Balancing::default() }, None)
}

fn hashing(least: u32) -> LoadBalancer {
    LoadBalancer::ConsistentHash(ConsistentHash {
        key: HashKey::SourceIp,
        minimum_ring_size: least,
    })
}

/// Who is picked in turn by a seeded generator.
struct Picks<'s> {
    snapshot: &'s Snapshot,
    turn: AtomicUsize,
    random: StdRng,
}

impl<'s> Picks<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, turn: AtomicUsize::new(0), random: StdRng::seed_from_u64(11) }
    }

    fn next(&mut self, key: Option<u64>, tried: &Tried) -> Option<(Arc<Endpoint>, u8)> {
        let picked = self.snapshot.pick(key, tried, &self.turn, &mut self.random)?;
        Some((Arc::clone(picked.0), picked.1))
    }

    fn serial(&mut self) -> u64 {
        self.next(None, &Tried::default()).unwrap().0.state().serial
    }

    fn shares(&mut self, draws: u32) -> Vec<u32> {
        let mut counts = vec![0; self.snapshot.members.len()];
        for _ in 0..draws {
            counts[self.serial() as usize] += 1;
        }
        counts
    }
}

/// Five standard deviations of a binomial distribution.
fn assert_likely(counts: &[u32], weights: &[u32]) {
    let draws: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    for (count, weight) in counts.iter().zip(weights) {
        let share = f64::from(*weight) / total;
        let bound = 5.0 * (draws * share * (1.0 - share)).sqrt();
        let off = (f64::from(*count) - draws * share).abs();
        assert!(off <= bound.max(1.0), "{counts:?} for {weights:?}");
    }
}

#[test]
fn idle_endpoints_are_picked_by_weight() {
    for weights in [&[1, 1, 1][..], &[1, 3], &[1, 2, 3, 4], &[80, 15, 5], &[1000, 1]] {
        for load_balancer in [LoadBalancer::LeastRequest, LoadBalancer::Random] {
            let snapshot = snapshot(weights, load_balancer);
            assert_likely(&Picks::of(&snapshot).shares(100_000), weights);
        }
        let round: u32 = weights.iter().sum();
        let snapshot = snapshot(weights, LoadBalancer::RoundRobin);
        let expected: Vec<u32> = weights.iter().map(|weight| weight * 7).collect();
        assert_eq!(Picks::of(&snapshot).shares(round * 7), expected, "round robin is exact");
    }
}

#[test]
fn keys_without_a_hash_go_anywhere() {
    let snapshot = snapshot(&[1, 1, 1, 1], hashing(1_024));
    assert!(Picks::of(&snapshot).shares(4_000).iter().all(|count| *count > 500));
}

#[test]
fn the_less_busy_of_two_takes_the_request() {
    let snapshot = snapshot(&[1, 1], LoadBalancer::LeastRequest);
    let busy = Picked::new(Arc::clone(&snapshot.members[0]), 0);
    assert_eq!(Picks::of(&snapshot).shares(100), [0, 100]);
    drop(busy);
    assert!(Picks::of(&snapshot).shares(100)[0] > 20);
}

#[test]
fn requests_that_stay_spread_by_weight() {
    for (weights, most_off) in
        [(&[1, 1, 1, 1, 1, 1, 1, 1][..], 3), (&[1, 3], 2), (&[4, 2, 1, 1], 5)]
    {
        let snapshot = snapshot(weights, LoadBalancer::LeastRequest);
        let mut picks = Picks::of(&snapshot);
        let total: u32 = weights.iter().sum();
        let held: Vec<Picked> = (0..100 * total)
            .map(|_| {
                let (endpoint, level) = picks.next(None, &Tried::default()).unwrap();
                Picked::new(endpoint, level)
            })
            .collect();
        for (endpoint, weight) in snapshot.members.iter().zip(weights) {
            let off = endpoint.active().abs_diff(100 * weight);
            assert!(off <= most_off, "{weights:?}: {} for {weight}", endpoint.active());
        }
        drop(held);
    }
}

#[test]
fn the_weighted_one_that_hangs_is_left_alone() {
    let snapshot = snapshot(&[3, 2, 2], LoadBalancer::LeastRequest);
    let stuck: Vec<_> = (0..30).map(|_| Picked::new(Arc::clone(&snapshot.members[0]), 0)).collect();
    let shares = Picks::of(&snapshot).shares(1_000);
    assert!(shares[0] < 30, "{shares:?}");
    drop(stuck);
}

#[test]
fn a_key_leads_to_the_same_endpoint_in_whatever_order_they_are_known() {
    let key = |nth: u32| Some(ring::hash(&nth.to_le_bytes()));
    let members: Vec<_> = (0..7).map(|nth| endpoint(nth, 1 + nth % 3)).collect();
    let balancing = Balancing { load_balancer: hashing(1_024), ..Balancing::default() };
    let one = Snapshot::new(members.clone(), &balancing, None);
    let other = Snapshot::new(members.into_iter().rev().collect(), &balancing, None);
    let (mut one, mut other) = (Picks::of(&one), Picks::of(&other));
    for nth in 0..1_000 {
        let tried = Tried::default();
        let (one, other) = (one.next(key(nth), &tried), other.next(key(nth), &tried));
        assert_eq!(one.unwrap().0.spec().id, other.unwrap().0.spec().id);
    }
}

/// Rings must not change from one version of the host to the next: caches and sessions hang on
/// them.
#[test]
fn keys_lead_where_they_always_led() {
    let snapshot = snapshot(&[1, 1, 1, 1, 1], hashing(1_024));
    let mut picks = Picks::of(&snapshot);
    let mut lead = |key: &str| {
        let picked = picks.next(Some(ring::hash(key.as_bytes())), &Tried::default());
        picked.unwrap().0.state().serial
    };
    let users: Vec<u64> = (0..12).map(|nth| lead(&format!("user-{nth}"))).collect();
    assert_eq!(users, USERS);
}

/// As the first version had them.
const USERS: [u64; 12] = [1, 2, 1, 3, 2, 2, 1, 3, 0, 3, 1, 3];

#[test]
fn an_ejected_endpoint_gives_its_keys_away_and_gets_them_back() {
    let snapshot = |ejected: bool| {
        let members: Vec<_> = (0..5).map(|nth| endpoint(nth, 1)).collect();
        members[2].state().ejected.store(ejected, Relaxed);
        let balancing = Balancing { load_balancer: hashing(1_024), ..Balancing::default() };
        Snapshot::new(members, &balancing, None)
    };
    let (well, ill) = (snapshot(false), snapshot(true));
    let (mut well, mut ill) = (Picks::of(&well), Picks::of(&ill));
    for nth in 0..2_000_u32 {
        let key = Some(ring::hash(&nth.to_le_bytes()));
        let of =
            |picks: &mut Picks<'_>| picks.next(key, &Tried::default()).unwrap().0.state().serial;
        let (well, ill) = (of(&mut well), of(&mut ill));
        assert!(well == ill || well == 2, "{well} became {ill}");
        assert_ne!(ill, 2);
    }
}

#[test]
fn a_key_stays_in_its_level() {
    let members = places();
    members[0].state().healthy.store(false, Relaxed);
    members[1].state().healthy.store(false, Relaxed);
    let balancing = Balancing {
        load_balancer: hashing(1_024),
        preference: Some(near("eu/1")),
        health: true,
        ..Balancing::default()
    };
    let snapshot = Snapshot::new(members, &balancing, None);
    let mut picks = Picks::of(&snapshot);
    let mut near = 0;
    for nth in 0..1_000_u32 {
        let key = Some(ring::hash(&nth.to_le_bytes()));
        let mut tried = Tried::new(&retries(true, false));
        let picked = picks.next(key, &tried).unwrap();
        near += u32::from(picked.1 == 0);
        let first = fail(&mut tried, picked);
        for _ in 0..3 {
            assert_eq!(picks.next(key, &tried).unwrap().0.state().serial, first);
        }
    }
    assert!((380..540).contains(&near), "46 percent: {near}");
}

fn retries(ignore_previous: bool, remote_localities: bool) -> RetryPolicy {
    RetryPolicy { ignore_previous, remote_localities, ..RetryPolicy::default() }
}

fn fail(tried: &mut Tried, (endpoint, level): (Arc<Endpoint>, u8)) -> u64 {
    let picked = Picked::new(endpoint, level);
    tried.add(&picked);
    picked.state().serial
}

#[test]
fn a_retry_goes_elsewhere() {
    for load_balancer in
        [LoadBalancer::LeastRequest, LoadBalancer::Random, LoadBalancer::RoundRobin]
    {
        let snapshot = snapshot(&[1; 8], load_balancer);
        let mut picks = Picks::of(&snapshot);
        let mut same = 0;
        for _ in 0..1_000 {
            let mut tried = Tried::new(&retries(true, false));
            let picked = picks.next(None, &tried).unwrap();
            let first = fail(&mut tried, picked);
            let second = picks.next(None, &tried).unwrap().0.state().serial;
            same += u32::from(first == second);
        }
        // Six picks that all fall on one of eight.
        assert!(same <= 2, "{same}");
    }
}

#[test]
fn a_retry_uses_what_there_is() {
    let alone = snapshot(&[1], LoadBalancer::LeastRequest);
    let mut picks = Picks::of(&alone);
    let mut tried = Tried::new(&retries(true, false));
    for _ in 0..5 {
        let picked = picks.next(None, &tried).unwrap();
        assert_eq!(fail(&mut tried, picked), 0);
    }
}

#[test]
fn a_retry_may_be_told_not_to_care() {
    let snapshot = snapshot(&[1, 1], LoadBalancer::Random);
    let mut picks = Picks::of(&snapshot);
    let mut same = 0;
    for _ in 0..1_000 {
        let mut tried = Tried::new(&retries(false, false));
        let picked = picks.next(None, &tried).unwrap();
        let first = fail(&mut tried, picked);
        same += u32::from(picks.next(None, &tried).unwrap().0.state().serial == first);
    }
    assert!((400..600).contains(&same), "{same}");
}

#[test]
fn a_retry_of_a_key_stays_with_its_endpoint() {
    let snapshot = snapshot(&[1; 8], hashing(1_024));
    let mut picks = Picks::of(&snapshot);
    let mut tried = Tried::new(&retries(true, false));
    let picked = picks.next(Some(42), &tried).unwrap();
    let first = fail(&mut tried, picked);
    assert_eq!(picks.next(Some(42), &tried).unwrap().0.state().serial, first);
}

fn located(nth: u32, place: &str, labels: &[(&str, &str)]) -> Arc<Endpoint> {
    let spec = EndpointSpec {
        locality: Locality::parse(place),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..EndpointSpec::local("n", &format!("{nth:03}"))
    };
    Arc::new(Endpoint::fresh(spec, u64::from(nth)))
}

fn near(own: &str) -> Preference {
    Preference { own: Locality::parse(own), ..Preference::default() }
}

fn preferring(preference: Preference, health: bool, members: Vec<Arc<Endpoint>>) -> Snapshot {
    let balancing = Balancing { preference: Some(preference), health, ..Balancing::default() };
    Snapshot::new(members, &balancing, None)
}

/// Three in the caller's zone, two in another one, one in another region.
fn places() -> Vec<Arc<Endpoint>> {
    ["eu/1", "eu/1", "eu/1", "eu/2", "eu/2", "us/1"]
        .iter()
        .zip(0..)
        .map(|(place, nth)| located(nth, place, &[]))
        .collect()
}

fn used(snapshot: &Snapshot) -> Vec<bool> {
    Picks::of(snapshot).shares(2_000).iter().map(|count| *count > 0).collect()
}

#[test]
fn the_nearest_are_preferred_while_someone_tells_who_is_well() {
    let snapshot = preferring(near("eu/1"), true, places());
    assert_eq!(used(&snapshot), [true, true, true, false, false, false]);
    // Otherwise nobody would ever be left for others (Istio: failover needs outlierDetection).
    assert_eq!(used(&preferring(near("eu/1"), false, places())), [true; 6]);
    assert_eq!(used(&preferring(near(""), true, places())), [true; 6]);
    let outlier = Some(Outlier::default());
    let balancing = Balancing { preference: Some(near("us/1")), outlier, ..Balancing::default() };
    let snapshot = Snapshot::new(places(), &balancing, None);
    assert_eq!(used(&snapshot), [false, false, false, false, false, true]);
}

#[test]
fn load_goes_over_to_others_as_the_near_ones_fail() {
    let members = places();
    let ill = |nth: usize| members[nth].state().healthy.store(false, Relaxed);
    let shares = || {
        let snapshot = preferring(near("eu/1"), true, members.clone());
        let counts = Picks::of(&snapshot).shares(10_000);
        [counts[..3].iter().sum::<u32>(), counts[3..5].iter().sum(), counts[5]]
    };
    assert_eq!(shares(), [10_000, 0, 0]);
    // Two of three are 66 percent, and 93 with the overprovisioning.
    ill(0);
    let [near, other, far] = shares();
    assert!((9_100..9_500).contains(&near) && other + near == 10_000 && far == 0, "{near}");
    ill(1);
    let [near, other, far] = shares();
    assert!((4_300..4_900).contains(&near) && other + near == 10_000 && far == 0, "{near}");
    ill(2);
    assert_eq!(shares(), [0, 10_000, 0]);
    ill(3);
    ill(4);
    assert_eq!(shares(), [0, 0, 10_000]);
    ill(5);
    let snapshot = preferring(near_eu(), true, members.clone());
    assert!(Picks::of(&snapshot).next(None, &Tried::default()).is_none());
}

fn near_eu() -> Preference {
    near("eu/1")
}

#[test]
fn the_third_try_goes_to_another_locality_if_it_may() {
    let snapshot = preferring(near_eu(), true, places());
    for (remote, expected) in [(true, [0, 0, 1, 1, 2, 2, 0]), (false, [0; 7])] {
        let mut picks = Picks::of(&snapshot);
        let mut tried = Tried::new(&retries(true, remote));
        let mut levels = Vec::new();
        for _ in 0..7 {
            let picked = picks.next(None, &tried).unwrap();
            levels.push(picked.1);
            fail(&mut tried, picked);
        }
        assert_eq!(levels, expected, "{remote}");
    }
}

/// Istio: pilot/pkg/networking/core/loadbalancer/loadbalancer_test.go.
#[test]
fn ranks_are_istios() {
    let labels = |pairs: &[(&str, &str)]| -> Map<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let failover = Preference {
        failover: vec![("eu".into(), "us".into()), ("us".into(), "eu".into())],
        ..near("eu/1/a")
    };
    for (place, rank) in
        [("eu/1/a", 0), ("eu/1/b", 1), ("eu/2/a", 2), ("us/1/a", 3), ("asia/1/a", 4)]
    {
        assert_eq!(failover.rank(located(0, place, &[]).spec()), rank, "{place}");
    }
    let priority = Preference {
        labels: labels(&[("version", "v1"), ("track", "stable")]),
        priority: vec![
            "topology.kubernetes.io/region".into(),
            "version".into(),
            "track=canary".into(),
        ],
        ..near("eu/1")
    };
    for (place, of, rank) in [
        ("eu/2", &[("version", "v1"), ("track", "canary")][..], 0),
        ("eu/1", &[("version", "v1"), ("track", "stable")], 5),
        ("eu/1", &[("version", "v2"), ("track", "canary")], 10),
        ("us/1", &[("version", "v1"), ("track", "canary")], 15),
        ("eu/1", &[], 10),
    ] {
        assert_eq!(priority.rank(located(0, place, of).spec()), rank, "{place} {of:?}");
    }
    // Both: labels first, then places.
    let both = Preference {
        priority: vec!["version".into()],
        failover: failover.failover.clone(),
        labels: labels(&[("version", "v1")]),
        ..near("eu/1/a")
    };
    for (place, version, rank) in
        [("eu/1/a", "v1", 0), ("asia/1/a", "v1", 4), ("eu/1/a", "v2", 5), ("us/1/a", "v2", 8)]
    {
        let spec = located(0, place, &[("version", version)]);
        assert_eq!(both.rank(spec.spec()), rank, "{place} {version}");
    }
}

#[test]
fn levels_beyond_the_last_are_one() {
    let members: Vec<_> =
        (0..40).map(|nth| located(nth, "", &[(&format!("l{nth}"), "x")])).collect();
    let priority: Vec<Box<str>> = (0..40).map(|nth| format!("l{nth}=x").into()).collect();
    let balancing = Balancing {
        preference: Some(Preference { priority, ..Preference::default() }),
        health: true,
        ..Balancing::default()
    };
    let grouped = group(&members, &balancing);
    assert!(grouped.len() <= levels::MOST);
    assert_eq!(grouped.iter().map(Vec::len).sum::<usize>(), 40);
}

#[test]
fn what_is_hashed_is_found_in_the_request() {
    let settings = |key| ConsistentHash { key, minimum_ring_size: 1_024 };
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "u1".parse().unwrap());
    headers.append(header::COOKIE, "a=1; session=\"s1\"".parse().unwrap());
    headers.append(header::COOKIE, "late=2".parse().unwrap());
    let uri: Uri = "/v0/app?base=app1&empty&base=app2".parse().unwrap();
    let client = Some("192.0.2.1".parse().unwrap());
    let key = |key| hash_key(&settings(key), &headers, &uri, client);
    let header = |name| HashKey::Header(HeaderName::from_static(name));
    for (what, expected) in [
        (header("x-user"), Some(&b"u1"[..])),
        (header("x-none"), None),
        (HashKey::Cookie("session".to_owned()), Some(b"s1")),
        (HashKey::Cookie("late".to_owned()), Some(b"2")),
        (HashKey::Cookie("none".to_owned()), None),
        (HashKey::QueryParameter("base".to_owned()), Some(b"app1")),
        (HashKey::QueryParameter("empty".to_owned()), Some(b"")),
        (HashKey::QueryParameter("none".to_owned()), None),
        (HashKey::SourceIp, Some(&[192, 0, 2, 1])),
    ] {
        let found = key(what.clone());
        assert_eq!(found, expected.map(ring::hash), "{what:?}");
    }
    assert_eq!(hash_key(&settings(HashKey::SourceIp), &headers, &uri, None), None);
    // All values of a field count.
    headers.append("x-user", "u2".parse().unwrap());
    let two = hash_key(&settings(header("x-user")), &headers, &uri, None);
    assert_eq!(two, Some(ring::hash_more(ring::hash(b"u1"), b"u2")));
}

#[test]
fn nobody_is_picked_of_none() {
    for load_balancer in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, hashing(8)] {
        let snapshot = snapshot(&[], load_balancer);
        assert!(Picks::of(&snapshot).next(Some(1), &Tried::default()).is_none());
    }
}
