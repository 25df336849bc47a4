//! Identifiers: a three-letter prefix and fourteen base-62 characters.

use parking_lot::Mutex;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A generator whose sequence follows from its seed.
#[derive(Debug)]
pub(crate) struct Ids(Mutex<u64>);

impl Ids {
    /// Starts from `seed`, or from the system's randomness.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(seed.unwrap_or_else(|| getrandom::u64().unwrap_or(0x5EED))))
    }

    /// Where the sequence stands; the only thing that what follows depends on.
    pub(crate) fn state(&self) -> u64 {
        *self.0.lock()
    }

    /// SplitMix64: a full period and no bad seeds.
    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = *state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A new identifier, such as `recAbCdEfGhIjKlMn`.
    pub(crate) fn fresh(&self, prefix: &str) -> String {
        let mut id = String::with_capacity(prefix.len() + 14);
        id.push_str(prefix);
        for _ in 0..14 {
            id.push(char::from(ALPHABET[(self.next() % 62) as usize]));
        }
        id
    }

    /// Random bytes, for secrets.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|_| (self.next() >> 24) as u8)
    }
}

/// Whether `text` has the shape of an identifier with this prefix.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    text.len() == 17 && text.starts_with(prefix) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
