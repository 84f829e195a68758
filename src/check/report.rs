//! The output of `check`: one aligned line per step, in sections.

use std::fmt;

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepOutcome {
    /// It works.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// It does not work.
    Failed,
    /// Not tried, because an earlier step failed.
    Skipped,
}

impl StepOutcome {
    const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::Skipped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: &'static str,
    outcome: StepOutcome,
    text: String,
}

/// The steps of one tenant, or of the machine that runs the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSection {
    title: String,
    steps: Vec<Step>,
}

impl CheckSection {
    /// A section without steps.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: printable(title), steps: Vec::new() }
    }

    /// Adds a step. `text` may contain untrusted text; it is displayed on one line of a terminal.
    pub fn add(&mut self, name: &'static str, outcome: StepOutcome, text: &str) {
        self.steps.push(Step { name, outcome, text: printable(text) });
    }
}

/// Replaces control characters, which a terminal would execute.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for CheckSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for Step { name, outcome, text } in &self.steps {
            let outcome = format!("{}:", outcome.as_str());
            writeln!(f, "  {name:<15} {outcome:<8} {text}")?;
        }
        writeln!(f)
    }
}

/// The summary of all sections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    counts: [usize; StepOutcome::ALL.len()],
    failed: Vec<String>,
}

impl CheckReport {
    /// Adds a section to the summary.
    pub fn add(&mut self, section: &CheckSection) {
        for step in &section.steps {
            self.counts[step.outcome as usize] += 1;
        }
        if section.steps.iter().any(|step| step.outcome == StepOutcome::Failed) {
            self.failed.push(section.title.clone());
        }
    }

    /// The titles of the sections with a failed step.
    #[must_use]
    pub fn failed(&self) -> &[String] {
        &self.failed
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps:", self.counts.iter().sum::<usize>())?;
        let counted = StepOutcome::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0);
        for (place, (outcome, count)) in counted.enumerate() {
            let plural = if outcome == StepOutcome::Warning && count > 1 { "s" } else { "" };
            write!(f, "{} {count} {}{plural}", if place == 0 { "" } else { "," }, outcome.as_str())?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_lines_in_columns_and_are_counted() {
        let mut section = CheckSection::new("contoso");
        section.add("token", StepOutcome::Ok, "good for 1h");
        section.add("machine list", StepOutcome::Failed, "a name\r\n\u{1b}[31mlike this");
        section.add("getmissingkbs", StepOutcome::Skipped, "there is none");
        let mut report = CheckReport::default();
        report.add(&section);
        assert_eq!(report.failed(), ["contoso"]);
        insta::assert_snapshot!(format!("{section}{report}"), @r"
        contoso
          token           ok:      good for 1h
          machine list    failed:  a name   [31mlike this
          getmissingkbs   skipped: there is none

        3 steps: 1 ok, 1 failed, 1 skipped
        ");
    }
}
