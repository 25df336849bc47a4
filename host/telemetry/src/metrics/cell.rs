use std::{
    cell::Cell,
    sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it, or takes away.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets it, if the value is larger than what it was: a peak.
    pub fn raise(&self, value: i64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The buckets of a histogram.
#[derive(Debug)]
pub struct Buckets {
    /// What a value of 1 stands for, in what is observed: a billion where nanoseconds are observed
    /// and seconds are shown.
    pub unit: u64,
    /// Inclusive upper bounds of what is observed, rising, with their `le` label. At most 15.
    pub bounds: &'static [(u64, &'static str)],
}

/// Most bounds a histogram has; with the last bucket and the sum a shard is 17 words.
const MAX_BOUNDS: usize = 15;
/// Most shards; a power of two.
const MAX_SHARDS: usize = 8;

/// A histogram with fixed buckets, of durations in nanoseconds or of sizes. Threads write to shards of their own, because an
/// observation touches two words and every request observes.
#[derive(Debug)]
pub struct Histogram {
    buckets: &'static Buckets,
    shards: Box<[Shard]>,
}

/// 128 bytes: two cache lines, which is what the prefetcher of x86 moves at once.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; MAX_BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    ///
    /// # Panics
    /// If there are more bounds than 15: they are constants of this crate or of a test.
    #[must_use]
    pub fn new(buckets: &'static Buckets) -> Self {
        assert!(buckets.bounds.len() <= MAX_BOUNDS, "at most {MAX_BOUNDS} bounds");
        let shards = std::thread::available_parallelism()
            .map_or(1, |cores| cores.get().next_power_of_two().min(MAX_SHARDS));
        Self { buckets, shards: (0..shards).map(|_| Shard::default()).collect() }
    }

    /// Adds a duration, in nanoseconds.
    pub fn record(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds one observation.
    pub fn observe(&self, value: u64) {
        let bucket = self.buckets.bounds.partition_point(|(bound, _)| *bound < value);
        let shard = &self.shards[shard_of_thread() & (self.shards.len() - 1)];
        shard.counts[bucket].fetch_add(1, Ordering::Relaxed);
        if value > 0 {
            shard.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let shards = self.shards.iter().flat_map(|shard| &shard.counts);
        shards.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut counts = vec![0; self.buckets.bounds.len() + 1];
        let mut sum = 0_u64;
        for shard in &self.shards {
            for (total, count) in counts.iter_mut().zip(&shard.counts) {
                *total += count.load(Ordering::Relaxed);
            }
            sum = sum.wrapping_add(shard.sum.load(Ordering::Relaxed));
        }
        Snapshot { buckets: self.buckets, counts, sum }
    }
}

/// The content of a histogram at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) buckets: &'static Buckets,
    /// Observations in each bucket, not cumulated; the last one has no bound.
    pub(super) counts: Vec<u64>,
    pub(super) sum: u64,
}

impl Snapshot {
    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The observations since an earlier snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            buckets: self.buckets,
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// Of durations, that below which `quantile` (0 to 1) of the observations lie, interpolated in its
    /// bucket as Prometheus' `histogram_quantile` does; none without observations. What lies in
    /// the last bucket answers the largest bound.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0_u64;
        let mut lower = 0_u64;
        for (count, (bound, _)) in self.counts.iter().zip(self.buckets.bounds) {
            let reached = below + count;
            if *count > 0 && reached as f64 >= rank {
                let share = (rank - below as f64) / *count as f64;
                let nanos = lower as f64 + (bound - lower) as f64 * share;
                return Some(Duration::from_nanos(nanos as u64));
            }
            below = reached;
            lower = *bound;
        }
        (total > 0).then(|| Duration::from_nanos(lower))
    }
}

fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    SHARD.with(Cell::get)
}
