//! What Airtable answered, and how it is kept.

/// An answer of Airtable's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: u16,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// What Airtable's API sends.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

impl Answer {
    /// A successful one, from its body.
    pub(crate) fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: Some(JSON.to_owned()), retry_after: None, body }
    }

    /// Whether it says that what was asked was done.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether a client of Airtable's can read it: a JSON object.
    pub(crate) fn is_object(&self) -> bool {
        self.body.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'{')
    }
}

/// An answer as it is kept: which state of the base it shows, when it was given, and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Names the state of the base; another one after each write.
    pub(crate) state: [u8; 16],
    /// Milliseconds since the epoch.
    pub(crate) at: i64,
    /// The body.
    pub(crate) body: Vec<u8>,
}

const HEAD: usize = 24;

impl Kept {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.state, self.at.to_le_bytes().as_slice(), &self.body].concat()
    }

    /// From bytes; none for what was not written by [`encode`](Self::encode).
    pub(crate) fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let (state, at) = (*bytes.first_chunk()?, bytes.get(16..HEAD)?.try_into().ok()?);
        Some(Self { state, at: i64::from_le_bytes(at), body: bytes.split_off(HEAD) })
    }

    /// Seconds since it was given.
    pub(crate) fn age(&self, now: i64) -> u64 {
        u64::try_from((now - self.at) / 1000).unwrap_or(0)
    }

    /// Whether it is good without asking again.
    pub(crate) fn is_fresh(&self, state: Option<[u8; 16]>, now: i64, seconds: u64) -> bool {
        state == Some(self.state) && self.age(now) < seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_answers_come_back_as_they_were() {
        let kept = Kept { state: [7; 16], at: 1_767_225_600_123, body: b"{\"a\":1}".to_vec() };
        assert_eq!(Kept::decode(kept.encode()), Some(kept.clone()));
        let empty = Kept { body: Vec::new(), ..kept };
        assert_eq!(Kept::decode(empty.encode()), Some(empty));
        assert_eq!(Kept::decode(vec![0; 23]), None);
        assert_eq!(Kept::decode(Vec::new()), None);
    }

    #[test]
    fn fresh_is_young_and_of_the_same_state() {
        let kept = Kept { state: [7; 16], at: 10_000, body: Vec::new() };
        let rows = [
            (Some([7; 16]), 10_000, true),
            (Some([7; 16]), 39_999, true),
            (Some([7; 16]), 40_000, false),
            (Some([8; 16]), 10_000, false),
            (None, 10_000, false),
        ];
        for (state, now, expected) in rows {
            assert_eq!(kept.is_fresh(state, now, 30), expected, "{state:?} {now}");
        }
        assert_eq!(kept.age(9_000), 0, "a clock that was set back");
    }
}
