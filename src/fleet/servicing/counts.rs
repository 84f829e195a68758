//! Machines past end of servicing, and those of which that is uncertain, in sentences.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::MachineServicing;
use crate::fleet::MachineFacts;
use crate::model::ServicingState;
use crate::text::grouped;

/// The number of versions that a sentence names.
const NAMED: usize = 6;

/// Counts of machines past end of servicing, and of those of which that is uncertain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicingCounts {
    /// By the name of the version.
    ended: BTreeMap<String, u64>,
    uncertain: u64,
    needs_edition: u64,
    needs_extended: u64,
}

impl ServicingCounts {
    /// Adds a machine.
    pub fn add(&mut self, facts: &MachineFacts, servicing: &MachineServicing) {
        match servicing.state {
            ServicingState::Ended => *self.ended.entry(version_name(facts)).or_default() += 1,
            ServicingState::Uncertain => {
                self.uncertain += 1;
                self.needs_edition += u64::from(servicing.needs_edition);
                self.needs_extended += u64::from(servicing.needs_extended);
            }
            ServicingState::InService | ServicingState::Unknown => {}
        }
    }

    /// Returns a sentence about the machines past end of servicing; none without such a machine.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        let mut versions: Vec<_> = self.ended.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        // Stable: versions with equal counts stay in the order of names.
        versions.sort_by_key(|(_, count)| Reverse(*count));
        let count: u64 = versions.iter().map(|(_, count)| count).sum();
        let shown = |(name, count): &(&str, u64)| format!("{name} ({})", grouped(*count));
        let mut parts: Vec<_> = versions.iter().take(NAMED).map(shown).collect();
        let others: u64 = versions.iter().skip(NAMED).map(|(_, count)| count).sum();
        if others > 0 {
            parts.push(format!("other versions ({})", grouped(others)));
        }
        (count > 0).then(|| {
            let verb = if count == 1 { "runs" } else { "run" };
            let (machines, versions) = (machines(count), parts.join(", "));
            format!(
                "{machines} {verb} a Windows version past end of servicing, which gets no updates: {versions}."
            )
        })
    }

    /// Returns a sentence about the machines that may be past end of servicing, with the settings that would settle it;
    /// none without such a machine.
    #[must_use]
    pub fn uncertain(&self) -> Option<String> {
        let setting = |count, key: &str| {
            // The number of all such machines is at the start of the sentence.
            let scope =
                || if count == self.uncertain { String::new() } else { format!(" for {}", machines(count)) };
            (count > 0).then(|| format!("servicing.{key}{}", scope()))
        };
        let editions = setting(self.needs_edition, "editions");
        let extended = setting(self.needs_extended, "extended");
        let settings: Vec<_> = editions.into_iter().chain(extended).collect();
        (self.uncertain > 0).then(|| {
            let (count, settings) = (machines(self.uncertain), settings.join(" and "));
            format!("{count} may be past end of servicing. Set {settings} to settle it.")
        })
    }
}

/// Returns the platform and the version of a machine as one name, such as `Windows11 23H2`.
#[must_use]
pub fn version_name(facts: &MachineFacts) -> String {
    format!("{} {}", facts.os_platform, facts.os_version).trim().to_owned()
}

fn machines(count: u64) -> String {
    if count == 1 { "1 machine".to_owned() } else { format!("{} machines", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MachineId;

    fn facts(platform: &str, version: &str) -> MachineFacts {
        MachineFacts {
            os_platform: platform.to_owned(),
            os_version: version.to_owned(),
            ..MachineFacts::unlisted(MachineId::parse("a").unwrap())
        }
    }

    fn servicing(state: ServicingState, needs_edition: bool, needs_extended: bool) -> MachineServicing {
        MachineServicing { state, needs_edition, needs_extended, ..MachineServicing::UNKNOWN }
    }

    fn counts(machines: &[(&str, &str, MachineServicing)]) -> ServicingCounts {
        let mut counts = ServicingCounts::default();
        for (platform, version, servicing) in machines {
            counts.add(&facts(platform, version), servicing);
        }
        counts
    }

    #[test]
    fn versions_past_servicing_are_named_by_size() {
        let ended = servicing(ServicingState::Ended, false, false);
        let one = [("Windows11", "23H2", ended)];
        assert_eq!(
            counts(&one).ended().unwrap(),
            "1 machine runs a Windows version past end of servicing, which gets no updates: Windows11 23H2 (1)."
        );
        let mut all =
            vec![("Windows7", "", ended), ("Windows11", "23H2", ended), ("Windows11", "23H2", ended)];
        assert_eq!(
            counts(&all).ended().unwrap(),
            "3 machines run a Windows version past end of servicing, which gets no updates: Windows11 23H2 (2), \
             Windows7 (1)."
        );
        all.extend((0..6).map(|number| ("Windows10", ["a", "b", "c", "d", "e", "f"][number], ended)));
        assert!(counts(&all).ended().unwrap().ends_with("Windows10 e (1), other versions (2)."));
        let others = [ServicingState::InService, ServicingState::Uncertain, ServicingState::Unknown];
        let others = others.map(|state| ("Windows11", "25H2", servicing(state, false, false)));
        assert_eq!(counts(&others).ended(), None);
    }

    #[test]
    fn settings_that_would_settle_it_are_named() {
        let of = |machines: &[(bool, bool)]| {
            let machine = |(edition, extended): &(bool, bool)| {
                ("Windows10", "22H2", servicing(ServicingState::Uncertain, *edition, *extended))
            };
            counts(&machines.iter().map(machine).collect::<Vec<_>>()).uncertain()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[(false, true)]).unwrap(),
            "1 machine may be past end of servicing. Set servicing.extended to settle it."
        );
        assert_eq!(
            of(&[(true, false), (true, true), (true, false)]).unwrap(),
            "3 machines may be past end of servicing. Set servicing.editions and servicing.extended for 1 machine to \
             settle it."
        );
    }
}
