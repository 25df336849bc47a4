//! Consistent hashing: a key leads to the same endpoint for as long as it is there, on every node
//! and after every restart (Envoy: source/extensions/load_balancing_policies/ring_hash).

use std::fmt::Write as _;

use twox_hash::XxHash64;

/// Points of a ring at most, whatever its settings: 2 MiB, and some milliseconds to build.
const MOST_POINTS: f64 = 131_072.0;

/// The hash of keys and points: xxHash64 with seed 0, as Envoy's.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// Hashes more into a key.
pub(crate) fn hash_more(before: u64, bytes: &[u8]) -> u64 {
    XxHash64::oneshot(before, bytes)
}

/// Whom a ring is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) id: &'a str,
    pub(crate) weight: u32,
    /// Whether it is used now. The points of others are the same whether or not it is.
    pub(crate) used: bool,
}

/// Points in the order of their hashes.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Box<[(u64, u32)]>,
}

impl Ring {
    /// A ring with `least` points or somewhat more, so that the lightest node has a whole number
    /// of them.
    pub(crate) fn new(nodes: &[Node<'_>], least: u32) -> Self {
        let total: f64 = nodes.iter().map(|node| f64::from(node.weight)).sum();
        let lightest = nodes.iter().map(|node| node.weight).min().unwrap_or(1);
        let lightest = f64::from(lightest) / total;
        let scale = ((lightest * f64::from(least)).ceil().max(1.0) / lightest).min(MOST_POINTS);
        let mut points = Vec::new();
        let mut name = String::new();
        for (node, which) in nodes.iter().zip(0_u32..).filter(|(node, _)| node.used) {
            // Rounded up for each alone: another node's coming or going moves only its own keys.
            let count = (scale * f64::from(node.weight) / total).ceil() as u32;
            for nth in 0..count {
                name.clear();
                name.push_str(node.id);
                // Writing to a string does not fail.
                let _written = write!(name, "_{nth}");
                points.push((hash(name.as_bytes()), which));
            }
        }
        points.sort_unstable();
        Self { points: points.into() }
    }

    /// Who is next on the ring from a key.
    pub(crate) fn find(&self, key: u64) -> Option<u32> {
        let next = self.points.partition_point(|(point, _)| *point < key);
        let (_, which) = self.points.get(next).or_else(|| self.points.first())?;
        Some(*which)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[String]) -> Vec<Node<'_>> {
        ids.iter().map(|id| Node { id, weight: 1, used: true }).collect()
    }

    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|nth| format!("node-{nth}/standard")).collect()
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..10_000_u32).map(|key| hash(&key.to_le_bytes()))
    }

    /// The hash of `xxhsum -H64`: a ring must not change with a version of a library.
    #[test]
    fn hashes_are_those_of_the_specification() {
        for (text, expected) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("abc", 0x44bc_2cf5_ad77_0999),
        ] {
            assert_eq!(hash(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let ids = ids(4);
        let mut nodes = nodes(&ids);
        nodes[0].weight = 3;
        let ring = Ring::new(&nodes, 1_024);
        let mut counts = [0_u32; 4];
        for key in keys() {
            counts[ring.find(key).unwrap() as usize] += 1;
        }
        assert!((4_200..5_800).contains(&counts[0]), "{counts:?}");
        for count in &counts[1..] {
            assert!((1_200..2_200).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn only_the_keys_of_one_that_left_move() {
        let ids = ids(5);
        let mut nodes = nodes(&ids);
        let before = Ring::new(&nodes, 1_024);
        nodes[2].used = false;
        let after = Ring::new(&nodes, 1_024);
        for key in keys() {
            let (was, is) = (before.find(key).unwrap(), after.find(key).unwrap());
            assert!(was == is || was == 2, "{was} became {is}");
            assert_ne!(is, 2);
        }
    }

    #[test]
    fn most_keys_stay_when_one_is_added() {
        let ids = ids(6);
        let (before, after) = (Ring::new(&nodes(&ids[..5]), 1_024), Ring::new(&nodes(&ids), 1_024));
        let moved = keys().filter(|key| before.find(*key) != after.find(*key)).count();
        assert!(moved < 10_000 / 3, "{moved}");
    }

    #[test]
    fn rings_are_bounded() {
        let ids = ids(3);
        let mut nodes = nodes(&ids);
        assert_eq!(Ring::new(&nodes, 1_024).points.len(), 1_026);
        assert_eq!(Ring::new(&nodes, 1).points.len(), 3);
        assert!(Ring::new(&nodes, u32::MAX).points.len() as f64 <= MOST_POINTS + 3.0);
        nodes[0].weight = u32::MAX;
        assert!(Ring::new(&nodes, 1_024).points.len() as f64 <= MOST_POINTS + 3.0);
        assert_eq!(Ring::new(&[], 1_024).find(7), None);
    }
}
