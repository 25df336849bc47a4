//! A pick is made for every call: it must not allocate, whatever the balancer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "an allocator that counts has the trait's unsafe functions")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use airhost_mesh::destination::{
    Balancing, EndpointSet, EndpointSpec, Locality, Preference, Tried, TryResult,
};
use airhost_policy::traffic::{ConsistentHash, HashKey, LoadBalancer, Outlier};
use http::StatusCode;
use rand::{SeedableRng, rngs::StdRng};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's own work; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[tokio::test(start_paused = true)]
async fn a_pick_and_a_report_allocate_nothing() {
    let hashing = ConsistentHash { key: HashKey::SourceIp, minimum_ring_size: 1_024 };
    for weights in [[1, 1, 1, 1], [1, 2, 3, 4]] {
        for load_balancer in [
            LoadBalancer::LeastRequest,
            LoadBalancer::Random,
            LoadBalancer::RoundRobin,
            LoadBalancer::ConsistentHash(hashing.clone()),
        ] {
            let balancing = Balancing {
                load_balancer,
                preference: Some(Preference {
                    own: Locality::parse("eu/1"),
                    ..Preference::default()
                }),
                outlier: Some(Outlier { most_ejected_percent: 100, ..Outlier::default() }),
                health: true,
            };
            let set = EndpointSet::new(balancing, 0, None);
            set.update(weights.iter().zip(0..).map(|(weight, nth)| EndpointSpec {
                weight: *weight,
                locality: Locality::parse(if nth < 2 { "eu/1" } else { "us/1" }),
                ..EndpointSpec::local("n", &nth.to_string())
            }));
            // Half of the near ones are not well: both levels are used.
            assert!(set.set_health("n/0", false));
            let mut random = StdRng::seed_from_u64(3);
            let tried = Tried::default();
            let ok = TryResult::Answered(StatusCode::OK);
            // The first load of a thread sets up what the others use.
            drop(set.pick(Some(0), &tried, &mut random).unwrap());
            let before = COUNT.get();
            for key in 0..1_000 {
                let picked = set.pick(Some(key), &tried, &mut random).unwrap();
                set.report(&picked, ok);
            }
            assert_eq!(COUNT.get(), before, "{:?}", set.status());
        }
    }
}
