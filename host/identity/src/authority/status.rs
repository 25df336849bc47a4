use serde::Serialize;

/// What a root does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RootPhase {
    /// It is in the bundle and will sign.
    Announced,
    /// It signs.
    Signing,
    /// It is in the bundle for the leaves that are left.
    Retiring,
}

/// A root, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootStatus {
    /// The SHA-256 digest of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// What it does.
    pub phase: RootPhase,
    /// Its last second, since the epoch.
    pub not_after: i64,
    /// When it begins to sign, or leaves the bundle: seconds since the epoch.
    pub phase_ends: Option<i64>,
}

/// The authority, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its roots, the oldest first.
    pub roots: Vec<RootStatus>,
    /// The last second of the intermediate, since the epoch.
    pub intermediate_not_after: i64,
    /// The number of the trust bundle.
    pub sequence: u64,
}
