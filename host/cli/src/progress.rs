//! Shows what a long step is doing.

use std::time::Instant;

use crate::output::paint;

/// Steps of one piece of work, each printed as it begins and timed as it ends.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    start: Instant,
}

impl Progress {
    /// Progress on standard error; none if `quiet`.
    #[expect(clippy::disallowed_methods, reason = "shown to a person, never tested")]
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, start: Instant::now() }
    }

    /// A step begins.
    pub(crate) fn step(&self, what: &str, detail: &str) {
        if !self.quiet {
            match detail {
                "" => eprintln!("  {}", paint(what, 36)),
                _ => eprintln!("  {} {detail}", paint(&format!("{what:<10}"), 36)),
            }
        }
    }

    /// The work is done.
    pub(crate) fn done(&self, what: &str) {
        if !self.quiet {
            eprintln!("  {} in {:.1} s", paint(what, 32), self.start.elapsed().as_secs_f64());
        }
    }
}
