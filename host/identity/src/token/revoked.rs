use std::collections::HashMap;

use parking_lot::RwLock;

/// Most sessions that are remembered: some 20 MB. A session is on the list for as long as an
/// access token lives, minutes, so that this is never reached in honest use.
const MAX_SESSIONS: usize = 200_000;

/// Sessions that were ended, each until the last of its tokens has expired.
#[derive(Debug, Default)]
pub(super) struct Revoked(RwLock<HashMap<Box<str>, u64>>);

impl Revoked {
    pub(super) fn insert(&self, session: &str, until: u64, now: u64) {
        let mut sessions = self.0.write();
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, until| *until >= now);
        }
        if sessions.len() >= MAX_SESSIONS {
            forget_soonest(&mut sessions);
        }
        let known = sessions.entry(session.into()).or_insert(until);
        *known = until.max(*known);
    }

    pub(super) fn contains(&self, session: &str, now: u64) -> bool {
        self.0.read().get(session).is_some_and(|until| *until >= now)
    }

    pub(super) fn len(&self, now: u64) -> usize {
        self.0.read().values().filter(|until| **until >= now).count()
    }
}

/// Makes room for a tenth: those whose tokens expire first matter least.
fn forget_soonest(sessions: &mut HashMap<Box<str>, u64>) {
    tracing::error!(sessions = sessions.len(), "the list of ended sessions is full");
    let mut ends: Vec<u64> = sessions.values().copied().collect();
    let (_, limit, _) = ends.select_nth_unstable(MAX_SESSIONS / 10);
    let limit = *limit;
    sessions.retain(|_, until| *until > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_refused_until_its_end() {
        let revoked = Revoked::default();
        revoked.insert("a", 100, 50);
        revoked.insert("a", 90, 50);
        assert!(revoked.contains("a", 100) && !revoked.contains("a", 101));
        assert!(!revoked.contains("b", 50));
        assert_eq!((revoked.len(100), revoked.len(101)), (1, 0));
    }

    #[test]
    fn the_list_is_bounded_and_forgets_what_expires_first() {
        let revoked = Revoked::default();
        for session in 0..=MAX_SESSIONS as u64 {
            revoked.insert(&session.to_string(), 1000 + session, 50);
        }
        assert!(revoked.len(0) <= MAX_SESSIONS);
        assert!(revoked.contains(&MAX_SESSIONS.to_string(), 50));
        assert!(revoked.contains(&(MAX_SESSIONS / 2).to_string(), 50));
        assert!(!revoked.contains("0", 50));
        // What has expired goes first.
        let expired = Revoked::default();
        for session in 0..MAX_SESSIONS {
            expired.insert(&session.to_string(), if session == 7 { 500 } else { 100 }, 50);
        }
        expired.insert("new", 500, 200);
        assert_eq!(expired.len(0), 2);
    }
}
