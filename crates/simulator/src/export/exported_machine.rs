//! A machine in the export: whether it has rows, its properties, and its missing updates.
//!
//! Excluded, merged, inactive and not onboarded machines have no rows, and a realistic fleet contains one
//! machine that Defender never assessed. A machine whose missing updates were set by a test has rows for
//! them, whether it is listed or not.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::calendar::Day;
use crate::fleet::{MissingKb, SimulatedFleet};
use crate::machine::{MachineKind, SimulatedMachine};
use crate::random::mix;
use crate::record::MachineRecord;
use crate::releases::{CLIENTS, WindowsRelease};
use crate::updates::Update;

/// Time from midnight of the day of release until Defender knows of an update: half past five in the
/// afternoon.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_mins(17 * 60 + 30);

/// Time after that within which each machine reports.
const REPORTED_WITHIN_SECS: u64 = 12 * 3600;

/// Time between two CVEs of an update appearing on the same machine.
const CVE_AFTER_CVE: SignedDuration = SignedDuration::from_mins(40);

/// A machine that has rows.
pub(super) struct ExportedMachine<'fleet> {
    /// Oddities and pseudo-random values depend on it.
    pub(super) index: usize,
    pub(super) id: &'fleet str,
    pub(super) name: Option<&'fleet str>,
    pub(super) platform: &'fleet str,
    pub(super) is_linux: bool,
    pub(super) system: &'static WindowsRelease,
    pub(super) group: Option<(u64, &'fleet str)>,
    /// None if only the id is known; the rows then show a time within the last day.
    pub(super) last_seen: Option<Timestamp>,
    pub(super) missing: MachineUpdates<'fleet>,
    /// An update that the machine missed earlier and has installed.
    pub(super) installed_update: Option<Update>,
}

/// The updates that a machine misses.
pub(super) enum MachineUpdates<'fleet> {
    Generated(Vec<Update>),
    Set(&'fleet [MissingKb]),
}

impl<'fleet> ExportedMachine<'fleet> {
    /// The machine at a position of the fleet. None if it has no rows.
    pub(super) fn at(
        fleet: &'fleet SimulatedFleet,
        position: usize,
        day: Day,
        now: Timestamp,
    ) -> Option<Self> {
        match fleet.record_at(position) {
            Some(MachineRecord::Generated(machine)) => Self::generated(fleet, machine, day, now),
            Some(MachineRecord::Raw(record)) => Self::raw(fleet, record, position),
            None => {
                let (id, missing) = fleet.unlisted_at(position)?;
                Some(Self::unknown(id, position, MachineUpdates::Set(missing)))
            }
        }
    }

    fn generated(
        fleet: &'fleet SimulatedFleet,
        machine: &'fleet SimulatedMachine,
        day: Day,
        now: Timestamp,
    ) -> Option<Self> {
        let set = fleet.set_for(&machine.id);
        let is_set = set.is_some() && matches!(machine.kind, MachineKind::Ordinary | MachineKind::Linux);
        if fleet.is_silent(&machine.id) || (!is_set && !machine.is_assessed()) {
            return None;
        }
        let generated = || MachineUpdates::Generated(fleet.updates(machine, day, now));
        let has_installed = set.is_none()
            && fleet.pace().missing_per_machine.is_none()
            && machine.kind == MachineKind::Ordinary;
        Some(Self {
            index: machine.index,
            id: &machine.id,
            name: machine.name.as_deref(),
            platform: machine.platform(),
            is_linux: machine.kind == MachineKind::Linux,
            system: machine.system,
            group: machine.group(),
            last_seen: Some(machine.last_seen(now)),
            missing: set.map_or_else(generated, MachineUpdates::Set),
            installed_update: if has_installed { machine.newest_installed(day, fleet.pace()) } else { None },
        })
    }

    fn raw(fleet: &'fleet SimulatedFleet, record: &'fleet Value, position: usize) -> Option<Self> {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let id = text("id").filter(|id| !id.is_empty())?;
        let is = |name: &str, value: &str| text(name).is_some_and(|own| own.eq_ignore_ascii_case(value));
        let merged = record.get("mergedIntoMachineId").is_some_and(|other| !other.is_null());
        let excluded = record.get("isExcluded").and_then(Value::as_bool) == Some(true);
        let onboarded = record.get("onboardingStatus").is_none() || is("onboardingStatus", "Onboarded");
        if merged || excluded || !onboarded || is("healthStatus", "Inactive") {
            return None;
        }
        let mut exported =
            Self::unknown(id, position, MachineUpdates::Set(fleet.set_for(id).unwrap_or_default()));
        exported.name = text("computerDnsName");
        exported.platform = text("osPlatform").unwrap_or(exported.platform);
        exported.group = record.get("rbacGroupId").and_then(Value::as_u64).zip(text("rbacGroupName"));
        exported.last_seen = text("lastSeen").and_then(|time| time.parse().ok());
        Some(exported)
    }

    /// A machine of which only the id is known.
    fn unknown(id: &'fleet str, position: usize, missing: MachineUpdates<'fleet>) -> Self {
        let system = &CLIENTS[1];
        Self {
            index: position,
            id,
            name: None,
            platform: system.platform,
            is_linux: false,
            system,
            group: None,
            last_seen: None,
            missing,
            installed_update: None,
        }
    }

    /// The time at which the CVE with number `index` of an update was first seen on the machine: soon after
    /// the release, and not after the version was `generated`.
    pub(super) fn first_seen(&self, released: Day, index: usize, generated: Timestamp) -> Timestamp {
        let delay = mix(17, self.index as u64, 0) % REPORTED_WITHIN_SECS;
        // The fractions of the export have a resolution of 100 ns.
        let fraction =
            if self.index.is_multiple_of(3) { mix(17, self.index as u64, 1) % 10_000_000 * 100 } else { 0 };
        let reported = SignedDuration::new(delay.cast_signed(), i32::try_from(fraction).unwrap_or(0));
        let later = CVE_AFTER_CVE * i32::try_from(index).unwrap_or(i32::MAX);
        let seen = released.midnight() + KNOWN_AFTER + reported + later;
        seen.min(generated)
    }
}
