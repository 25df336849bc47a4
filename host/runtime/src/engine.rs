//! The one wasmtime engine of a node.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use wasmtime::{Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::{
    config::{Config, Reservation, Reset},
    epoch::Clock,
    error::Error,
};

/// Memory of an instance that stays resident for the next one in its slot, in bytes.
const MEMORY_KEEP_RESIDENT: usize = 256 * 1024;
/// The same for a table.
const TABLE_KEEP_RESIDENT: usize = 64 * 1024;
/// Slots that are reset together where resetting each takes a system call. Where only much that was
/// written does (`MEMORY_KEEP_RESIDENT`), whoever wrote it resets it, and not whoever comes next.
const DECOMMIT_BATCH: usize = 16;
/// Address space of a linear memory: with all of 4 GiB no access needs a bounds check.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Stack of a guest; more is a trap.
const GUEST_STACK: usize = 512 * 1024;
/// Stack of a fiber: the guest's, and what host functions need on top of it.
const FIBER_STACK: usize = 2 * 1024 * 1024;
/// How an instance's memory is reset, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetStrategy {
    /// Whether only the pages that were written are reset (`PAGEMAP_SCAN`), which makes a fresh
    /// instance for every request cheap.
    pub pagemap_scan: bool,
    /// Why, in words for `airhost status`.
    pub reason: String,
}

/// The engine with its clock. Dropping it ends the clock's thread.
pub(crate) struct Engine {
    engine: wasmtime::Engine,
    reset: ResetStrategy,
    compatibility: u64,
    clock: Arc<Clock>,
}

impl Engine {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let reset = match config.reset {
            Reset::Decommit => ResetStrategy {
                pagemap_scan: false,
                reason: "switched off in the configuration".to_owned(),
            },
            Reset::Auto => detect_reset(),
        };
        let mut settings = wasmtime::Config::new();
        settings
            .wasm_component_model(true)
            .concurrency_support(false)
            .epoch_interruption(true)
            .cranelift_opt_level(OptLevel::Speed)
            // A trap of a guest is counted and logged by its code; walking its stack for every
            // deadline that runs out would be work that an attacker chooses.
            .wasm_backtrace_max_frames(None)
            .native_unwind_info(false)
            .generate_address_map(false)
            .memory_init_cow(true)
            .memory_reservation(MEMORY_RESERVATION)
            .memory_may_move(false)
            .max_wasm_stack(GUEST_STACK)
            .async_stack_size(FIBER_STACK)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(
                &config.reservation,
                &reset,
            )));
        let engine = wasmtime::Engine::new(&settings).map_err(Error::engine)?;
        let mut hasher = Fnv::default();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let clock = Clock::start(&engine)?;
        Ok(Self { engine, reset, compatibility: hasher.finish(), clock })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    pub(crate) fn reset(&self) -> &ResetStrategy {
        &self.reset
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Tells engines apart that cannot load each other's code.
    pub(crate) fn compatibility(&self) -> u64 {
        self.compatibility
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

fn pooling(reservation: &Reservation, reset: &ResetStrategy) -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(reservation.instances)
        // Most components have a main module, a shim and a fix-up module.
        .total_core_instances(reservation.instances.saturating_mul(8))
        .total_memories(reservation.instances)
        .total_tables(reservation.instances.saturating_mul(4))
        .total_stacks(reservation.instances)
        .total_gc_heaps(reservation.instances.min(100))
        .max_memory_size(reservation.memory)
        .max_core_instances_per_component(reservation.core_instances_per_component)
        .max_memories_per_component(reservation.memories_per_component)
        .max_tables_per_component(reservation.tables_per_component)
        .max_memories_per_module(reservation.memories_per_component)
        .max_tables_per_module(reservation.tables_per_component)
        .table_elements(reservation.table_elements)
        .max_core_instance_size(8 << 20)
        .max_component_instance_size(8 << 20)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .decommit_batch_size(if reset.pagemap_scan { 1 } else { DECOMMIT_BATCH })
        .pagemap_scan(if reset.pagemap_scan { Enabled::Auto } else { Enabled::No });
    pooling
}

/// `PAGEMAP_SCAN` came with Linux 6.7. With swap on, a dirty page that was swapped out is not
/// reported by it (an open report against wasmtime 48), and would be read by the next instance.
fn detect_reset() -> ResetStrategy {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let swaps = std::fs::read_to_string("/proc/swaps").ok();
    decide_reset(&release, swaps.as_deref())
}

fn decide_reset(release: &str, swaps: Option<&str>) -> ResetStrategy {
    let no = |reason: String| ResetStrategy { pagemap_scan: false, reason };
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 7) {
        return no(format!("kernel {release} is older than 6.7 and has no PAGEMAP_SCAN"));
    }
    match swaps {
        // The first line is the heading.
        Some(text) if text.lines().count() <= 1 => ResetStrategy {
            pagemap_scan: true,
            reason: format!("kernel {release} has PAGEMAP_SCAN and swap is off"),
        },
        Some(_) => no("swap is on; switch it off for cheap fresh instances".to_owned()),
        None => no("/proc/swaps cannot be read, so swap may be on".to_owned()),
    }
}

/// FNV-1a: the same number in every process, unlike the standard library's hash.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("reset", &self.reset).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_scanned_only_where_that_is_right() {
        let none = "Filename\tType\tSize\tUsed\tPriority\n";
        let some = "Filename\tType\tSize\tUsed\tPriority\n/swapfile file 1 0 -2\n";
        for (release, swaps, expect) in [
            ("6.7.0", Some(none), true),
            ("6.18.44-fc-v669", Some(none), true),
            ("7.0", Some(none), true),
            ("6.6.99", Some(none), false),
            ("6.1.0-13-amd64", Some(none), false),
            ("6.12.1", Some(some), false),
            ("6.12.1", None, false),
            ("unknown", Some(none), false),
        ] {
            assert_eq!(decide_reset(release, swaps).pagemap_scan, expect, "{release} {swaps:?}");
        }
    }

    /// What an instance put into its table, and into what the table grew by, is not there for
    /// the next instance in the slot. Components of the contracts cannot write tables from Rust,
    /// so this one is a core module.
    #[test]
    fn a_table_slot_is_empty_for_the_next_instance() {
        let module = r#"(module
            (table $t 64 100000 funcref)
            (elem declare func $mark)
            (func $mark)
            (func (export "write")
                (local $at i32)
                (drop (table.grow $t (ref.func $mark) (i32.const 20000)))
                (loop $more
                    (table.set $t (local.get $at) (ref.func $mark))
                    (local.set $at (i32.add (local.get $at) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $at) (table.size $t)))))
            (func (export "read") (result i32)
                (local $at i32) (local $found i32)
                (drop (table.grow $t (ref.null func) (i32.const 20000)))
                (loop $more
                    (local.set $found (i32.add (local.get $found)
                        (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
                    (local.set $at (i32.add (local.get $at) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $at) (table.size $t))))
                (local.get $found)))"#;
        for reset in [Reset::Auto, Reset::Decommit] {
            let telemetry = airhost_telemetry::Telemetry::discard();
            let mut config = Config::new(crate::CacheKey::new([0; 32]), telemetry);
            config.reservation.instances = 1;
            config.reset = reset;
            let engine = Engine::new(&config).unwrap();
            let wasm = wat::parse_str(module).unwrap();
            let module = wasmtime::Module::new(engine.wasmtime(), wasm).unwrap();
            let mut found = Vec::new();
            for round in 0..400 {
                let mut store = wasmtime::Store::new(engine.wasmtime(), ());
                store.set_epoch_deadline(u64::MAX / 2);
                let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
                let read = instance.get_typed_func::<(), i32>(&mut store, "read").unwrap();
                found.push(read.call(&mut store, ()).unwrap());
                instance
                    .get_typed_func::<(), ()>(&mut store, "write")
                    .unwrap()
                    .call(&mut store, ())
                    .unwrap();
                if round == 0 {
                    // The control: an instance finds what it wrote itself.
                    assert!(read.call(&mut store, ()).unwrap() > 20_000);
                }
            }
            assert!(found.iter().all(|found| *found == 0), "{reset:?}");
        }
    }
}
