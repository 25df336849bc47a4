use std::{fmt, sync::Arc};

use crate::finding::Place;

/// Which rule of which policy decided: for logs and `airhost explain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// `namespace/name` of the resource.
    pub policy: Arc<str>,
    /// Position in the resource's list of rules, beginning with 0; none for the resource as a
    /// whole.
    pub rule: Option<usize>,
    /// Where it is written.
    pub place: Place,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.policy)?;
        if let Some(rule) = self.rule {
            write!(f, " rule {rule}")?;
        }
        write!(f, " ({}:{})", self.place.file, self.place.line)
    }
}
