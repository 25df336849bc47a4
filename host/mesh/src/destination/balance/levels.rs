//! How much of the load each level of preference takes, by how many of its endpoints are healthy
//! (Envoy: "priority levels").

/// Levels at most; what is farther counts as one.
pub(crate) const MOST: usize = 16;

/// A level takes all that it is meant to as long as `healthy * 1.4 >= all` (Envoy's
/// overprovisioning factor).
const OVERPROVISIONING_PERCENT: usize = 140;

/// Healthy and all endpoints of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) healthy: usize,
    pub(crate) all: usize,
}

/// The shares of the levels, in percent; they add up to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loads {
    count: usize,
    load: [u8; MOST],
    health: [u8; MOST],
    panic: [bool; MOST],
}

impl Loads {
    /// For these levels, of which no more than [`MOST`] are looked at. A level of which less than
    /// `panic_below` percent is healthy is used with all its endpoints, if all levels together
    /// cannot take the load; 0 is never.
    pub(crate) fn new(levels: &[Level], panic_below: u32) -> Self {
        let mut loads = Self {
            count: levels.len().min(MOST),
            load: [0; MOST],
            health: [0; MOST],
            panic: [false; MOST],
        };
        for (health, level) in loads.health.iter_mut().zip(levels) {
            let percent = (OVERPROVISIONING_PERCENT * level.healthy).checked_div(level.all);
            *health = percent.map_or(0, |percent| percent.min(100) as u8);
        }
        let total = loads.distribute(|_| true);
        if total < 100 {
            for (panic, level) in loads.panic.iter_mut().zip(levels) {
                let healthy = 100 * level.healthy;
                *panic = healthy < panic_below.min(100) as usize * level.all.max(1);
            }
        }
        let used = &levels[..loads.count];
        if loads.count > 0 && loads.panic[..loads.count].iter().all(|panic| *panic) {
            loads.by_number(used);
        }
        loads
    }

    /// The level for a roll below 100.
    pub(crate) fn level(&self, roll: u32) -> usize {
        let mut sum = 0;
        for (level, load) in self.load[..self.count].iter().enumerate() {
            sum += u32::from(*load);
            if roll < sum {
                return level;
            }
        }
        0
    }

    /// Whether a level is used with all its endpoints, healthy or not.
    pub(crate) fn is_panic(&self, level: usize) -> bool {
        self.panic[level]
    }

    /// The same without these levels (bit n is level n), if anything is left then (Envoy:
    /// source/extensions/retry/priority/previous_priorities).
    pub(crate) fn without(&self, levels: u16) -> Self {
        let mut others = *self;
        if others.distribute(|level| levels & (1 << level) == 0) == 0 { *self } else { others }
    }

    /// Gives as much of the load as possible to the first levels, of those that `takes_part`. The
    /// answer is how much they can take, in percent, at most 100.
    fn distribute(&mut self, takes_part: impl Fn(usize) -> bool) -> usize {
        let health = |level: usize| {
            if takes_part(level) { usize::from(self.health[level]) } else { 0 }
        };
        let total = (0..self.count).map(health).sum::<usize>().min(100);
        let mut left = 100;
        let mut load = [0; MOST];
        for (level, load) in load.iter_mut().enumerate().take(self.count) {
            let share = (health(level) * 100).checked_div(total).unwrap_or(0).min(left);
            *load = share as u8;
            left -= share;
        }
        // With nobody healthy, the first level has the load and nobody to take it.
        let first = (0..self.count).find(|level| health(*level) > 0).unwrap_or(0);
        // What rounding leaves goes to the first level that takes any.
        load[first] += left as u8;
        self.load = load;
        total
    }

    /// In panic everywhere, the load follows the number of endpoints.
    fn by_number(&mut self, levels: &[Level]) {
        let all: usize = levels.iter().map(|level| level.all).sum();
        let mut left = 100;
        for (load, level) in self.load.iter_mut().zip(levels) {
            let share = (100 * level.all).checked_div(all).unwrap_or(0);
            *load = share as u8;
            left -= share;
        }
        let first = levels.iter().position(|level| level.all > 0).unwrap_or(0);
        self.load[first] += left as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(levels: &[(usize, usize)], panic_below: u32) -> Loads {
        let levels: Vec<_> = levels.iter().map(|&(healthy, all)| Level { healthy, all }).collect();
        Loads::new(&levels, panic_below)
    }

    /// Envoy: docs/root/intro/arch_overview/upstream/load_balancing/{priority,panic_threshold}.rst
    /// and test/extensions/load_balancing_policies/common/load_balancer_impl_base_test.cc.
    #[test]
    fn load_goes_to_the_first_levels_that_can_take_it() {
        for (levels, panic_below, expected, panic) in [
            (&[(1, 1)][..], 0, &[100][..], &[false][..]),
            // Two levels: 100, 72, 71, 50, 25 and 0 percent healthy in the first.
            (&[(100, 100), (100, 100)], 0, &[100, 0], &[false, false]),
            (&[(72, 100), (72, 100)], 0, &[100, 0], &[false, false]),
            (&[(71, 100), (71, 100)], 0, &[99, 1], &[false, false]),
            (&[(50, 100), (50, 100)], 0, &[70, 30], &[false, false]),
            (&[(25, 100), (100, 100)], 0, &[35, 65], &[false, false]),
            (&[(0, 100), (100, 100)], 0, &[0, 100], &[false, false]),
            // Not enough in all: scaled up.
            (&[(25, 100), (25, 100)], 0, &[50, 50], &[false, false]),
            (&[(10, 100), (20, 100), (10, 100)], 0, &[25, 50, 25], &[false, false, false]),
            // Nobody healthy: the first has it, and nobody takes it.
            (&[(0, 3), (0, 3)], 0, &[100, 0], &[false, false]),
            (&[(0, 3), (0, 3)], 50, &[50, 50], &[true, true]),
            // Panic of a level only when there is not enough in all.
            (&[(20, 100), (100, 100)], 50, &[28, 72], &[false, false]),
            (&[(10, 100), (60, 100)], 50, &[15, 85], &[true, false]),
            // Panic everywhere: by number.
            (&[(1, 10), (1, 30)], 50, &[25, 75], &[true, true]),
            (&[(0, 1), (0, 2)], 100, &[34, 66], &[true, true]),
        ] {
            let loads = loads(levels, panic_below);
            assert_eq!(&loads.load[..levels.len()], expected, "{levels:?}");
            assert_eq!(&loads.panic[..levels.len()], panic, "{levels:?}");
            assert_eq!(loads.load.iter().map(|load| u32::from(*load)).sum::<u32>(), 100);
        }
    }

    #[test]
    fn a_roll_finds_its_level() {
        let loads = loads(&[(50, 100), (50, 100)], 0);
        for (roll, level) in [(0, 0), (69, 0), (70, 1), (99, 1)] {
            assert_eq!(loads.level(roll), level, "{roll}");
        }
    }

    #[test]
    fn levels_that_were_tried_are_left_out_while_others_remain() {
        let loads = loads(&[(1, 1), (0, 1), (1, 2)], 0);
        assert_eq!(&loads.load[..3], [100, 0, 0]);
        assert_eq!(&loads.without(0b001).load[..3], [0, 0, 100]);
        assert_eq!(loads.without(0b101), loads);
        assert_eq!(loads.without(0), loads);
    }

    #[test]
    fn more_levels_than_there_is_room_for_are_not_looked_at() {
        let levels = [Level { healthy: 1, all: 1 }; MOST + 3];
        assert_eq!(Loads::new(&levels, 0).level(99), 0);
        assert_eq!(Loads::new(&[], 50).level(99), 0);
    }
}
