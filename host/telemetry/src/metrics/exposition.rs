use std::fmt::{Display, Write as _};

use super::Histogram;

/// The type of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page in the Prometheus text format, version 0.0.4.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    family: &'static str,
    header: String,
}

impl Page {
    /// Begins a family; it is written when it has a sample.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.header = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample of the family; `labels` are escaped already.
    pub(super) fn sample(&mut self, labels: &str, value: impl Display) {
        self.line("", labels, value);
    }

    /// All samples of a histogram of the family.
    pub(super) fn histogram(&mut self, labels: &str, histogram: &Histogram) {
        let snapshot = histogram.snapshot();
        let total = snapshot.count();
        if total == 0 {
            return;
        }
        let mut below = 0;
        for (count, (_, bound)) in snapshot.counts.iter().zip(snapshot.buckets.bounds) {
            below += count;
            self.line("_bucket", &format!("{labels},le=\"{bound}\""), below);
        }
        self.line("_bucket", &format!("{labels},le=\"+Inf\""), total);
        let unit = snapshot.buckets.unit.as_nanos() as f64;
        self.line("_sum", labels, snapshot.sum_nanos as f64 / unit);
        self.line("_count", labels, total);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &str, value: impl Display) {
        self.text.push_str(&self.header);
        self.header.clear();
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        // Writing to a String cannot fail.
        let _ok = writeln!(self.text, "{}{suffix}{open}{labels}{close} {value}", self.family);
    }
}

/// Appends a label's value as the format wants it.
pub(super) fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
