//! Time-based one-time passwords (RFC 6238 on RFC 4226).

use ring::hmac;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Length of a step in seconds.
const STEP: u64 = 30;

/// The step that the six digits are of: this one, the one before or the one after it.
pub(crate) fn verify(seed: &[u8], code: &str, now_seconds: u64) -> Option<u64> {
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let given: u32 = code.parse().ok()?;
    let now = now_seconds / STEP;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, seed);
    // All three are computed and compared, so that the time does not tell which one it was.
    let mut matched = u64::MAX;
    for step in [now.saturating_sub(1), now + 1, now] {
        matched.conditional_assign(&step, digits(&key, step).ct_eq(&given));
    }
    (matched != u64::MAX).then_some(matched)
}

/// RFC 4226, section 5.3, with six digits.
fn digits(key: &hmac::Key, step: u64) -> u32 {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0x0f);
    let mut word = [0; 4];
    word.copy_from_slice(&tag[offset..offset + 4]);
    (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1; the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(verify(SEED, code, seconds), Some(seconds / STEP), "{seconds}");
        }
    }

    #[test]
    fn one_step_either_way_is_taken_and_no_more() {
        let step = 1_111_111_111 / STEP;
        for (now, matched) in
            [(step - 2, false), (step - 1, true), (step, true), (step + 1, true), (step + 2, false)]
        {
            assert_eq!(verify(SEED, "050471", now * STEP).is_some(), matched, "{now}");
        }
        assert_eq!(verify(SEED, "050471", (step + 1) * STEP), Some(step));
    }

    #[test]
    fn only_six_digits_are_a_code() {
        for bad in ["", "05047", "0504710", "+50471", " 50471", "05047a", "٠٥٠٤٧١"] {
            assert_eq!(verify(SEED, bad, 1_111_111_111), None, "{bad}");
        }
        assert_eq!(verify(SEED, "000000", 0), None);
    }
}
