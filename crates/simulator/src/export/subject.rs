//! A machine as the export sees it: whether it has rows, what it is, and what it misses.
//!
//! Excluded, merged, inactive and not onboarded machines have none, and an awkward fleet holds one machine
//! that Defender never assessed. A machine that a test told what to miss has rows for that, listed or not.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::calendar::Day;
use crate::fleet::{Fleet, MissingKb};
use crate::machine::{Machine, Standing};
use crate::random::mix;
use crate::record::Record;
use crate::updates::{CLIENTS, Update, Windows};

/// From midnight of the day of release until Defender knows of an update: half past five in the afternoon.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_mins(17 * 60 + 30);

/// Machines report at some time of the hours after that.
const REPORTED_WITHIN_SECS: u64 = 12 * 3600;

/// From one CVE of an update to the next being found on the same machine.
const CVE_AFTER_CVE: SignedDuration = SignedDuration::from_mins(40);

/// A machine that has rows.
pub(super) struct Subject<'fleet> {
    /// Oddities and draws are tied to it.
    pub(super) index: usize,
    pub(super) id: &'fleet str,
    pub(super) name: Option<&'fleet str>,
    pub(super) platform: &'fleet str,
    pub(super) linux: bool,
    pub(super) system: &'static Windows,
    pub(super) group: Option<(u64, &'fleet str)>,
    /// None: some time in the last day.
    pub(super) last_seen: Option<Timestamp>,
    pub(super) missing: Missed<'fleet>,
    /// An update that it does not miss any more.
    pub(super) settled: Option<Update>,
}

/// What a machine misses.
pub(super) enum Missed<'fleet> {
    Generated(Vec<Update>),
    Set(&'fleet [MissingKb]),
}

impl<'fleet> Subject<'fleet> {
    /// The machine at a place of the fleet; none when it has no rows.
    pub(super) fn at(fleet: &'fleet Fleet, place: usize, day: Day, now: Timestamp) -> Option<Self> {
        match fleet.record_at(place) {
            Some(Record::Generated(machine)) => Self::generated(fleet, machine, day, now),
            Some(Record::Raw(record)) => Self::raw(fleet, record, place),
            None => {
                let (id, missing) = fleet.unlisted_at(place)?;
                Some(Self::unknown(id, place, Missed::Set(missing)))
            }
        }
    }

    fn generated(fleet: &'fleet Fleet, machine: &'fleet Machine, day: Day, now: Timestamp) -> Option<Self> {
        let set = fleet.set_for(&machine.id);
        let told = set.is_some() && matches!(machine.standing, Standing::Ordinary | Standing::Linux);
        if !told && !machine.is_assessed() {
            return None;
        }
        let generated = || Missed::Generated(machine.missing(day, fleet.backlog()));
        let settles = set.is_none() && fleet.backlog().is_none() && machine.standing == Standing::Ordinary;
        Some(Self {
            index: machine.index,
            id: &machine.id,
            name: machine.name.as_deref(),
            platform: machine.platform(),
            linux: machine.standing == Standing::Linux,
            system: machine.system,
            group: machine.group(),
            last_seen: Some(machine.last_seen(now)),
            missing: set.map_or_else(generated, Missed::Set),
            settled: if settles { machine.newest_installed(day) } else { None },
        })
    }

    fn raw(fleet: &'fleet Fleet, record: &'fleet Value, place: usize) -> Option<Self> {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let id = text("id").filter(|id| !id.is_empty())?;
        let is = |name: &str, value: &str| text(name).is_some_and(|own| own.eq_ignore_ascii_case(value));
        let merged = record.get("mergedIntoMachineId").is_some_and(|other| !other.is_null());
        let excluded = record.get("isExcluded").and_then(Value::as_bool) == Some(true);
        let onboarded = record.get("onboardingStatus").is_none() || is("onboardingStatus", "Onboarded");
        if merged || excluded || !onboarded || is("healthStatus", "Inactive") {
            return None;
        }
        let mut subject = Self::unknown(id, place, Missed::Set(fleet.set_for(id).unwrap_or_default()));
        subject.name = text("computerDnsName");
        subject.platform = text("osPlatform").unwrap_or(subject.platform);
        subject.group = record.get("rbacGroupId").and_then(Value::as_u64).zip(text("rbacGroupName"));
        subject.last_seen = text("lastSeen").and_then(|time| time.parse().ok());
        Some(subject)
    }

    /// A machine of which only its id is known.
    fn unknown(id: &'fleet str, place: usize, missing: Missed<'fleet>) -> Self {
        let system = &CLIENTS[1];
        Self {
            index: place,
            id,
            name: None,
            platform: system.platform,
            linux: false,
            system,
            group: None,
            last_seen: None,
            missing,
            settled: None,
        }
    }

    /// When the CVE at `place` of an update was first seen here: soon after the release, and never after the
    /// snapshot was `generated`.
    pub(super) fn first_seen(&self, released: Day, place: usize, generated: Timestamp) -> Timestamp {
        let draw = mix(17, self.index as u64, 0) % REPORTED_WITHIN_SECS;
        // The unit of the export's fractions is 100 ns.
        let fraction =
            if self.index.is_multiple_of(3) { mix(17, self.index as u64, 1) % 10_000_000 * 100 } else { 0 };
        let reported = SignedDuration::new(draw.cast_signed(), i32::try_from(fraction).unwrap_or(0));
        let later = CVE_AFTER_CVE * i32::try_from(place).unwrap_or(i32::MAX);
        let seen = released.midnight() + KNOWN_AFTER + reported + later;
        seen.min(generated)
    }
}
