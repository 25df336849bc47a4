//! Drawing by weight, and taking turns by weight, each in constant time.

/// Turns of one round at most, but for one of every endpoint.
const MOST_TURNS: u64 = 4_096;

/// Walker's alias table (Vose's construction): each column has two candidates, and a draw takes a
/// column, then one of the two.
#[derive(Debug)]
pub(crate) struct Alias {
    columns: Box<[Column]>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Out of 2^32, how often the column's own candidate is taken.
    own: u64,
    other: u32,
}

const ONE: u64 = 1 << 32;

impl Alias {
    /// For these weights, none of which is 0.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let count = weights.len() as u64;
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        // In units in which a full column is `total`.
        let mut left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * count).collect();
        let mut columns: Vec<Column> =
            (0..weights.len()).map(|own| Column { own: ONE, other: own as u32 }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&at| left[at] < total);
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            let own = u128::from(left[poor]) * u128::from(ONE) / u128::from(total);
            columns[poor] = Column { own: own as u64, other: rich as u32 };
            left[rich] -= total - left[poor];
            if left[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
        Self { columns: columns.into() }
    }

    /// Which one, for a random number.
    pub(crate) fn draw(&self, random: u64) -> usize {
        let column = below(random, self.columns.len());
        let Column { own, other } = self.columns[column];
        // The lower half is independent of the column.
        if random & (ONE - 1) < own { column } else { other as usize }
    }
}

/// A number below `count` from the upper half of a random one.
pub(crate) fn below(random: u64, count: usize) -> usize {
    (((random >> 32) * count as u64) >> 32) as usize
}

/// One round of turns: everyone has as many as its weight, spread evenly.
///
/// Weights that add up to more than [`MOST_TURNS`] are scaled down; each has one turn at least.
pub(crate) fn turns(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let total: u64 = weights.iter().sum();
    let most = MOST_TURNS.max(weights.len() as u64);
    if total > most {
        for weight in &mut weights {
            let scaled = u128::from(*weight) * u128::from(most) / u128::from(total);
            *weight = (scaled as u64).max(1);
        }
    }
    // The nth turn of one with weight w is due at (n + phase) / w of the round. The phases of all
    // are spread over [0, 1), so that those with one turn each do not have them in a row.
    let spread = 2 * weights.len() as u64;
    let mut due: Vec<(u64, u32)> = (0_u32..)
        .zip(&weights)
        .flat_map(|(who, weight)| {
            let phase = 2 * u64::from(who) + 1;
            (0..*weight).map(move |nth| (nth * spread + phase, who))
        })
        .collect();
    due.sort_unstable_by(|(left, a), (right, b)| {
        let (weight_a, weight_b) = (weights[*a as usize], weights[*b as usize]);
        (left * weight_b).cmp(&(right * weight_a)).then(a.cmp(b))
    });
    due.into_iter().map(|(_, who)| who).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    /// Whether a count of successes is within five standard deviations of what is expected.
    fn is_likely(count: u32, draws: u32, share: f64) -> bool {
        let (mean, draws) = (f64::from(draws) * share, f64::from(draws));
        let deviation = (draws * share * (1.0 - share)).sqrt();
        (f64::from(count) - mean).abs() <= 5.0 * deviation.max(1.0)
    }

    #[test]
    fn draws_converge_to_the_weights() {
        const DRAWS: u32 = 200_000;
        let mut random = StdRng::seed_from_u64(1);
        for weights in [
            &[1][..],
            &[1, 1],
            &[1, 3],
            &[10, 1, 1, 1],
            &[90, 9, 1],
            &[u32::MAX, u32::MAX, 1],
            &[5; 100],
        ] {
            let alias = Alias::new(weights);
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..DRAWS {
                counts[alias.draw(random.next_u64())] += 1;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*weight) / total;
                assert!(is_likely(*count, DRAWS, share), "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn turns_are_exact_and_spread() {
        for (weights, expected) in [
            (&[1][..], &[0][..]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[7, 7], &[0, 1]),
            (&[1, 3], &[0, 1, 1, 1]),
            (&[3, 2], &[0, 1, 0, 0, 1]),
            (&[200, 100], &[0, 0, 1]),
            (&[5, 1, 1], &[0, 0, 0, 1, 0, 0, 2]),
            (&[8, 1, 1, 1, 1], &[0, 0, 0, 1, 0, 2, 0, 0, 3, 0, 0, 4]),
        ] {
            assert_eq!(&*turns(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn rounds_stay_short() {
        let round = turns(&[u32::MAX, u32::MAX - 1, 1]);
        assert!(round.len() as u64 <= MOST_TURNS + 3, "{}", round.len());
        assert_eq!(round.iter().filter(|who| **who == 2).count(), 1);
        let many = turns(&vec![1; 10_000]);
        assert_eq!(many.len(), 10_000);
    }
}
