use super::*;

fn forward(weights: &[u64]) -> Forward {
    let mut sum = 0;
    let destinations = weights.iter().enumerate().map(|(index, weight)| {
        sum += weight;
        let destination = Destination {
            host: index.to_string().into(),
            subset: None,
            port: None,
            headers: HeaderChanges::default(),
            authority: None,
        };
        (sum, destination)
    });
    Forward { destinations: destinations.collect() }
}

#[test]
fn the_ends_of_the_rolls_are_the_ends_of_the_weights() {
    let forward = forward(&[1, 98, 1]);
    for (roll, expect) in [
        (0, "0"),
        (u64::MAX / 100 - 1, "0"),
        (u64::MAX / 100 + 1, "1"),
        (u64::MAX / 2, "1"),
        (u64::MAX / 100 * 99 + 15, "1"),
        (u64::MAX / 100 * 99 + 16, "2"),
        (u64::MAX, "2"),
    ] {
        assert_eq!(&*forward.pick(roll).host, expect, "{roll}");
    }
    let weights: Vec<u64> = forward.destinations().map(|(_, weight)| weight).collect();
    assert_eq!(weights, [1, 98, 1]);
}

proptest::proptest! {
    /// Property (f): the picks converge on the weights, within five standard deviations of a
    /// binomial distribution.
    #[test]
    fn picks_converge_on_the_weights(
        weights in proptest::collection::vec(1_u64..1_000, 1..6),
        seed in proptest::prelude::any::<u64>(),
    ) {
        const PICKS: u32 = 20_000;
        let forward = forward(&weights);
        let mut counts = vec![0_u32; weights.len()];
        let mut state = seed;
        for _ in 0..PICKS {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut roll = state;
            roll = (roll ^ (roll >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            roll = (roll ^ (roll >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let picked: usize = forward.pick(roll ^ (roll >> 31)).host.parse().unwrap();
            counts[picked] += 1;
        }
        let total: u64 = weights.iter().sum();
        for (weight, count) in weights.iter().zip(&counts) {
            #[expect(clippy::cast_precision_loss, reason = "below 6 000")]
            let share = *weight as f64 / total as f64;
            let expect = f64::from(PICKS) * share;
            let deviation = (expect * (1.0 - share)).sqrt();
            proptest::prop_assert!((f64::from(*count) - expect).abs() <= 5.0 * deviation + 1.0);
        }
    }
}
