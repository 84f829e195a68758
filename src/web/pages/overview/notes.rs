//! The sentences about polls and about what limits the answer.

use super::headline::{is_failing, selected};
use crate::fleet::MachineState;
use crate::fleet::servicing::ServicingCounts;
use crate::model::{FactsSource, ServicingState};
use crate::web::pages::context::PageContext;
use crate::web::pages::tenants::waiting;
use crate::web::pages::text::{counted, visible, visible_error};

/// A sentence beside the answer.
pub(super) struct Note {
    pub(super) is_warning: bool,
    /// The number of machines with which the sentence begins, and the link to them.
    pub(super) machines: Option<(String, String)>,
    /// The rest of the sentence.
    pub(super) text: String,
}

impl Note {
    fn warning(text: String) -> Self {
        Self { is_warning: true, machines: None, text }
    }

    fn hint(text: String) -> Self {
        Self { is_warning: false, machines: None, text }
    }

    /// The sentence, whose first two words are a number of machines, with the link to these.
    fn about(mut self, link: String) -> Self {
        let second_space = self.text.match_indices(' ').map(|(place, _)| place).nth(1);
        if let Some(end) = second_space {
            let rest = self.text.split_off(end);
            self.machines = Some((std::mem::replace(&mut self.text, rest), link));
        }
        self
    }
}

/// The number of tenants that a sentence names.
const NAMED: usize = 5;

/// Sentences about polls: of one tenant with its error, of several as one sentence each, because the table of the
/// tenants has the errors.
pub(super) fn of_polls(context: &PageContext) -> Vec<Note> {
    let fleets: Vec<_> = selected(context).map(|(_, fleet, _)| fleet).collect();
    let mut notes = Vec::new();
    let failing: Vec<_> = fleets.iter().filter(|fleet| is_failing(fleet)).collect();
    match (&failing[..], fleets.len()) {
        ([], _) => {}
        ([fleet], 1) => {
            let error = visible_error(fleet.status.last_error.as_deref().unwrap_or_default());
            notes.push(Note::warning(format!("{} cannot be read: {error}", visible(&fleet.tenant))));
        }
        (failing, _) => {
            let names: Vec<_> = failing.iter().take(NAMED).map(|fleet| visible(&fleet.tenant)).collect();
            let more = if failing.len() > NAMED { ", ..." } else { "" };
            notes
                .push(Note::warning(format!("Not read: {}{more}. See the tenants below.", names.join(", "))));
        }
    }
    let unread: Vec<_> = fleets.iter().filter(|fleet| fleet.status.waiting > 0).collect();
    match &unread[..] {
        [] => {}
        [fleet] => {
            notes.push(Note::hint(format!(
                "{} waits to be read: {}.",
                visible(&fleet.tenant),
                waiting(fleet)
            )));
        }
        unread => {
            let machines = unread.iter().map(|fleet| fleet.status.waiting as u64).sum();
            let tenants = counted(unread.len() as u64, "tenant");
            notes.push(Note::hint(format!("{} of {tenants} wait to be read.", counted(machines, "machine"))));
        }
    }
    notes
}

/// Sentences about what limits the answer.
pub(super) fn limits(context: &PageContext) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut servicing = ServicingCounts::default();
    for (_, _, overview) in selected(context) {
        for summary in &context.snapshot.overview().machines[overview.machines.clone()] {
            if summary.state != MachineState::Unsupported {
                servicing.add(&summary.machine.facts, &summary.servicing);
            }
        }
    }
    let with = |state: ServicingState| context.machines(|query| query.servicing = Some(state));
    let ended = servicing.ended();
    notes.extend(ended.map(|text| Note::warning(visible(&text)).about(with(ServicingState::Ended))));
    let uncertain = servicing.uncertain();
    notes.extend(uncertain.map(|text| Note::hint(text).about(with(ServicingState::Uncertain))));
    if !context.snapshot.facts.has(FactsSource::Msrc) {
        notes.push(Note::hint(
            "Severity and exploitation of updates are unknown: turn on `facts` in the configuration."
                .to_owned(),
        ));
    }
    notes.extend(context.snapshot.policy_warnings().iter().map(|warning| Note::warning(visible(warning))));
    notes
}
