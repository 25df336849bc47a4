use std::fmt::{self, Display, Write as _};

use super::Histogram;

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` field prefers. Prometheus lists what it takes by quality; a
    /// scraper that takes OpenMetrics at all takes it with the highest one.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let quality = |range: &str| {
            let quality = range.split(';').find_map(|part| part.trim().strip_prefix("q="));
            quality.map_or(Some(1.0), |quality| quality.trim().parse::<f32>().ok())
        };
        let best = |wanted: fn(&str) -> bool| {
            let ranges = accept.split(',').filter(|range| wanted(range.trim()));
            ranges.filter_map(quality).fold(0.0, f32::max)
        };
        let open = best(|range| {
            let old = range.split(';').any(|part| part.trim() == "version=0.0.1");
            range.starts_with("application/openmetrics-text") && !old
        });
        if open > 0.0 && open >= best(|range| range.starts_with("text/plain")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A page of metrics while it is written. A family is there once, with all of its samples.
#[derive(Debug, Default)]
pub struct Page {
    format: Format,
    text: String,
    family: &'static str,
    header: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { format, ..Self::default() }
    }

    /// Begins a family; it is written when it has a sample. `help` is one sentence without line
    /// breaks.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        // OpenMetrics names a family of counters without what its samples end in.
        let named = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.header = format!("# HELP {named} {help}\n# TYPE {named} {kind}\n");
    }

    /// One sample of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let mut text = String::new();
        for (name, value) in labels {
            label(&mut text, name, value);
        }
        self.line("", &text, value);
    }

    /// One sample of the family; `labels` are written already.
    pub(super) fn labelled(&mut self, labels: &str, value: impl Display) {
        self.line("", labels, value);
    }

    /// All samples of a histogram of the family; nothing if it is empty.
    pub(super) fn histogram(&mut self, labels: &str, histogram: &Histogram) {
        let snapshot = histogram.snapshot();
        let total = snapshot.count();
        if total == 0 {
            return;
        }
        let mut below = 0;
        let separator = if labels.is_empty() { "" } else { "," };
        for (count, (_, bound)) in snapshot.counts.iter().zip(snapshot.buckets.bounds) {
            below += count;
            let bound = Bound(self.format, bound);
            self.line("_bucket", format_args!("{labels}{separator}le=\"{bound}\""), below);
        }
        self.line("_bucket", format_args!("{labels}{separator}le=\"+Inf\""), total);
        let unit = snapshot.buckets.unit as f64;
        self.line("_sum", labels, snapshot.sum as f64 / unit);
        self.line("_count", labels, total);
    }

    /// The page.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, suffix: &str, labels: impl Display, value: impl Display) {
        self.text.push_str(&self.header);
        self.header.clear();
        // Writing to a String cannot fail.
        let _ok = write!(self.text, "{}{suffix}{{{labels}", self.family);
        match self.text.strip_suffix('{') {
            Some(bare) => self.text.truncate(bare.len()),
            None => self.text.push('}'),
        }
        let _ok = writeln!(self.text, " {value}");
    }
}

/// The `le` of a bucket: OpenMetrics wants it written as Go writes a float.
struct Bound(Format, &'static str);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(format, text) = *self;
        if format == Format::Prometheus || text.contains('.') {
            return f.write_str(text);
        }
        match text.strip_prefix('1') {
            Some(zeros) if zeros.len() >= 6 && zeros.bytes().all(|digit| digit == b'0') => {
                write!(f, "1e+{:02}", zeros.len())
            }
            _ => write!(f, "{text}.0"),
        }
    }
}

/// Appends a label, after a comma if it is not the first one.
pub(super) fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_prefer() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0.1,text/plain;q=0.9", Format::Prometheus),
            (prometheus_3, Format::OpenMetrics),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn bounds_are_written_as_the_format_wants() {
        for (text, expected) in [
            ("0.5", "0.5"),
            ("1", "1.0"),
            ("2500", "2500.0"),
            ("100000", "100000.0"),
            ("1000000", "1e+06"),
            ("1000000000", "1e+09"),
        ] {
            assert_eq!(Bound(Format::OpenMetrics, text).to_string(), expected);
            assert_eq!(Bound(Format::Prometheus, text).to_string(), text);
        }
    }
}
