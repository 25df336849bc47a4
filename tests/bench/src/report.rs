//! Collects what was measured and writes it for people.

use std::fmt::{self, Write as _};

/// Everything of one run of this program.
#[derive(Debug, Default)]
pub(crate) struct Report {
    verdicts: Vec<Verdict>,
    sections: Vec<Section>,
    failed: Vec<String>,
}

/// A target, and whether it was met.
#[derive(Debug)]
struct Verdict {
    target: String,
    measured: String,
    outcome: &'static str,
}

/// A table with what is to be known about it.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) head: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

impl Report {
    /// States a target with what was measured.
    pub(crate) fn judge(
        &mut self,
        target: impl Into<String>,
        measured: impl Into<String>,
        met: bool,
    ) {
        let outcome = if met { "pass" } else { "**miss**" };
        self.verdicts.push(Verdict { target: target.into(), measured: measured.into(), outcome });
    }

    /// States a target that could not be measured, and why.
    pub(crate) fn not_measured(&mut self, target: impl Into<String>, why: &str) {
        let measured = format!("not measured: {why}");
        self.verdicts.push(Verdict { target: target.into(), measured, outcome: "–" });
    }

    pub(crate) fn section(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// A scenario that ended with an error.
    pub(crate) fn failed(&mut self, scenario: &str, error: &anyhow::Error) {
        self.failed.push(format!("{scenario}: {error:#}"));
    }

    /// What failed; a report with failures is not to be kept.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failed
    }

    /// The document.
    pub(crate) fn render(
        &self,
        intro: &str,
        facts: &[(&str, String)],
    ) -> Result<String, fmt::Error> {
        let mut out = format!("# Benchmarks\n\n{intro}\n");
        let mut rows = facts.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
        table(&mut out, &["machine", ""], &mut rows)?;
        out.push_str("\n## Targets\n\n");
        let mut rows = self.verdicts.iter().map(|verdict| {
            vec![verdict.target.clone(), verdict.measured.clone(), verdict.outcome.to_owned()]
        });
        table(&mut out, &["target", "measured", ""], &mut rows)?;
        for section in &self.sections {
            write!(out, "\n## {}\n\n{}\n\n", section.title, section.text)?;
            table(&mut out, section.head, &mut section.rows.iter().cloned())?;
        }
        if !self.failed.is_empty() {
            out.push_str("\n## Failed\n\n");
            for failure in &self.failed {
                writeln!(out, "- {failure}")?;
            }
        }
        Ok(out)
    }
}

fn table(
    out: &mut String,
    head: &[&str],
    rows: &mut dyn Iterator<Item = Vec<String>>,
) -> fmt::Result {
    writeln!(out, "| {} |", head.join(" | "))?;
    writeln!(out, "|{}", "---|".repeat(head.len()))?;
    for row in rows {
        let cells: Vec<String> =
            row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_targets_tables_and_failures() {
        let mut report = Report::default();
        report.judge("≤ 1 s", "0.5 s", true);
        report.judge("≤ 8 µs", "9 µs", false);
        report.not_measured("≥ 3×", "no wasmtime");
        report.section(Section {
            title: "One",
            text: "Text.".into(),
            head: &["a", "b"],
            rows: vec![vec!["x|y".into(), "1".into()]],
        });
        report.failed("deploy", &anyhow::anyhow!("broken"));
        let text = report.render("Intro.", &[("cores", "2".to_owned())]).unwrap();
        for part in [
            "# Benchmarks\n\nIntro.\n| machine |  |\n|---|---|\n| cores | 2 |\n",
            "| ≤ 1 s | 0.5 s | pass |",
            "| ≤ 8 µs | 9 µs | **miss** |",
            "| ≥ 3× | not measured: no wasmtime | – |",
            "## One\n\nText.\n\n| a | b |\n|---|---|\n| x\\|y | 1 |",
            "- deploy: broken",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
