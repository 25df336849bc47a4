//! Random numbers for tokens, ids and jitter (`wasi:random`, cryptographically strong).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// Random bytes.
///
/// # Panics
/// If the platform has no source of randomness, which a host that keeps the contract does.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "wasi:random cannot fail; going on would make weak tokens"
    )]
    getrandom::fill(&mut bytes).expect("a source of randomness");
    bytes
}

/// A token of 256 random bits as 43 URL-safe characters.
#[must_use]
pub fn token() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// A number below `bound`, for jitter; 0 for a bound of 0.
#[must_use]
pub fn below(bound: u64) -> u64 {
    let wide = u128::from(u64::from_le_bytes(bytes())) * u128::from(bound);
    u64::try_from(wide >> 64).unwrap_or(0)
}
