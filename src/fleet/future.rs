//! Times in the future, which come from a clock that was ahead.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Assessment, Attempt, Machine, TenantFleet};

impl TenantFleet {
    /// Sets every time after `now` back to `now`. Returns the largest difference; none if there was no such
    /// time.
    ///
    /// Times that Defender itself reports stay: the last report of a machine, and the generation of an export.
    pub fn set_back_times(&mut self, now: Timestamp) -> Option<SignedDuration> {
        let mut latest = now;
        let mut set_back = |at: &mut Timestamp| {
            latest = latest.max(*at);
            *at = now.min(*at);
        };
        let status = &mut self.status;
        let of_tenant =
            [&mut self.listed_at, &mut status.last_poll, &mut status.last_success, &mut status.next_poll];
        of_tenant.into_iter().flatten().for_each(&mut set_back);
        if let Some(version) = &mut self.export_version {
            set_back(&mut version.checked_at);
        }
        for out_of_scope in self.out_of_scope.values_mut() {
            set_back(&mut out_of_scope.since);
        }
        let out_of_scope = self.out_of_scope.values_mut().map(|out_of_scope| &mut out_of_scope.machine);
        for machine in self.machines.values_mut().chain(out_of_scope) {
            if latest_time(machine) > Some(now) {
                times(Arc::make_mut(machine)).for_each(&mut set_back);
            }
        }
        (latest > now).then(|| latest.duration_since(now))
    }
}

impl Machine {
    /// Sets every time after `now` back to `now`, except those that Defender reports.
    pub fn set_back_times(&mut self, now: Timestamp) {
        times(self).for_each(|at| *at = now.min(*at));
    }
}

/// The times of a machine that come from the clock of the exporter.
fn times(machine: &mut Machine) -> impl Iterator<Item = &mut Timestamp> {
    let Machine { facts: _, assessment, attempt } = machine;
    let attempt = attempt.iter_mut().map(|Attempt { at, .. }| at);
    let assessment = assessment.iter_mut().flat_map(|assessment| {
        let Assessment { fetched_at, as_of, source: _, missing_updates, unreadable } = assessment;
        let first_seen = missing_updates.iter_mut().flat_map(|missing| {
            let links = missing.chain.iter_mut().flat_map(|chain| &mut chain.links);
            [&mut missing.first_seen].into_iter().chain(links.map(|link| &mut link.first_seen))
        });
        let held = unreadable.iter_mut().flat_map(|unreadable| unreadable.held.iter_mut());
        [fetched_at, as_of].into_iter().chain(first_seen).chain(held.map(|held| &mut held.since))
    });
    attempt.chain(assessment)
}

fn latest_time(machine: &Machine) -> Option<Timestamp> {
    let assessment = machine.assessment.as_ref();
    let first_seen = machine
        .missing_updates()
        .iter()
        .flat_map(|missing| missing.links().iter().map(|link| link.first_seen).chain([missing.first_seen]));
    let read = assessment.map(|assessment| assessment.fetched_at.max(assessment.as_of));
    let unreadable = assessment.and_then(|assessment| assessment.unreadable.as_ref());
    let held = unreadable.iter().flat_map(|unreadable| unreadable.held.iter()).map(|held| held.since);
    first_seen.max().max(read).max(held.max()).max(machine.attempt.map(|attempt| attempt.at))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::facts::Facts;
    use crate::fleet::{
        ExportVersion, MachineAnswer, MachineFacts, OutOfScope, PollStatus, ReportedUpdate, UpdateFacts,
    };
    use crate::model::{Freshness, KbId, MachineId};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn fleet(at: Timestamp) -> TenantFleet {
        let mut fleet = TenantFleet::new("contoso".into());
        let ids = ["a", "b"].map(|id| MachineId::parse(id).unwrap());
        let facts = |id: &MachineId| MachineFacts::unlisted(id.clone());
        fleet.apply_list(ids.iter().map(facts).collect(), at, &Freshness::DEFAULT);
        let update = ReportedUpdate {
            kb: KbId::new(5_001).unwrap(),
            facts: Arc::new(UpdateFacts::default()),
            cves: None,
            reported_machines: None,
            severity: None,
            cvss: None,
        };
        let version = ExportVersion::new(at, at, false, None);
        fleet.apply_export(
            version,
            |_| Some(vec![update.clone()].into()),
            &Freshness::DEFAULT,
            &Facts::default(),
        );
        let unreadable =
            MachineAnswer { unreadable: vec!["Click to Run".into()], ..MachineAnswer::default() };
        fleet.apply_answer(&ids[0], at, unreadable, &Freshness::DEFAULT, &Facts::default());
        let machine = fleet.machines.remove(&ids[1]).unwrap();
        fleet.out_of_scope.insert(ids[1].clone(), OutOfScope { machine, since: at });
        let some = Some(at);
        fleet.status =
            PollStatus { last_poll: some, last_success: some, next_poll: some, ..PollStatus::default() };
        fleet
    }

    #[test]
    fn every_time_of_the_exporter_is_set_back() {
        for ahead in [2.hours(), 9.hours(), (20 * 24).hours()] {
            let mut ahead_fleet = fleet(NOW + ahead);
            let lead = ahead_fleet.set_back_times(NOW);
            assert_eq!(lead, Some((NOW + ahead).duration_since(NOW)));
            // Defender's own time stays.
            ahead_fleet.export_version.as_mut().unwrap().generated_at = NOW;
            assert_eq!(format!("{ahead_fleet:?}"), format!("{:?}", fleet(NOW)));
            assert_eq!(ahead_fleet.set_back_times(NOW), None);
        }
    }

    #[test]
    fn times_in_the_past_stay() {
        let mut past = fleet(NOW - 2.hours());
        assert_eq!(past.set_back_times(NOW), None);
        assert_eq!(format!("{past:?}"), format!("{:?}", fleet(NOW - 2.hours())));
    }
}
