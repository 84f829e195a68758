//! How findings are printed: one line per step, aligned, in sections.

use std::fmt;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepOutcome {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
    /// Not tried, because something before it failed.
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

/// The steps of one tenant, or of what all of them share.
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

    /// Adds a step. `text` may hold what others wrote: it ends up on one line of a terminal.
    pub fn add(&mut self, name: &'static str, outcome: StepOutcome, text: &str) {
        self.steps.push(Step { name, outcome, text: printable(text) });
    }
}

/// Characters that a terminal would obey are no text.
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

/// What all sections come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    counts: [usize; StepOutcome::ALL.len()],
    failed: Vec<String>,
}

impl CheckReport {
    /// Takes a section into account.
    pub fn add(&mut self, section: &CheckSection) {
        for step in &section.steps {
            self.counts[step.outcome as usize] += 1;
        }
        if section.steps.iter().any(|step| step.outcome == StepOutcome::Failed) {
            self.failed.push(section.title.clone());
        }
    }

    /// The titles of sections in which a step failed.
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
