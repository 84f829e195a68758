//! The rows of machines and of missing updates. No value is trusted: an invalid row is none.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Row;

use super::chain;
use super::persisted_state::{onboarding_number, severity_number};
use super::row::{at, integer, optional, optional_text, source, text, time};
use crate::fleet::{
    Assessment, Attempt, Machine, MachineFacts, MissingUpdate, Onboarding, ReportedUpdate, UpdateFacts,
};
use crate::model::{CvssScore, KbId, MachineId, Severity};

/// Selects the columns of [`machine`].
pub(super) const SELECT_MACHINE: &str = "SELECT key, tenant, departed_at, id, name, os_platform, os_version, \
     device_group, last_seen, read_at, attempt_at, attempt_succeeded, onboarded, as_of, source, tags, os_build \
     FROM machine LEFT JOIN times ON times.machine = machine.key";

/// Selects the columns of [`missing_update`].
pub(super) const SELECT_MISSING_UPDATE: &str = "SELECT machine, kb, first_seen, facts, cves, \
     reported_machines, severity, cvss, links FROM gap";

/// Selects the columns of [`update_facts`].
pub(super) const SELECT_FACTS: &str = "SELECT key, title, products FROM update_facts";

/// A row of the table `machine`.
pub(super) struct MachineRow {
    pub(super) key: i64,
    pub(super) tenant: i64,
    pub(super) departed_at: Option<Timestamp>,
    pub(super) machine: Machine,
}

/// A machine without its missing updates.
pub(super) fn machine(row: &Row<'_>) -> Option<MachineRow> {
    let id = text(row, 3)?;
    let facts = MachineFacts {
        id: MachineId::parse(id).filter(|parsed| parsed.as_str() == id)?,
        name: text(row, 4)?.to_owned(),
        os_platform: text(row, 5)?.to_owned(),
        os_version: text(row, 6)?.to_owned(),
        device_group: text(row, 7)?.to_owned(),
        last_seen: optional(row, 8, at)?,
        onboarding: onboarding(integer(row, 12)?)?,
        tags: tags(row, 15)?,
        os_build: optional(row, 16, small)?,
    };
    let assessment = match optional(row, 9, at)? {
        Some(read_at) => Some(Assessment {
            fetched_at: read_at,
            as_of: optional(row, 13, at)?.unwrap_or(read_at),
            source: source(text(row, 14)?)?,
            missing_updates: Vec::new(),
            unreadable: None,
        }),
        None => None,
    };
    let attempt = match optional(row, 10, at)? {
        Some(at) => {
            let outcome = integer(row, 11)?;
            Some(Attempt { at, succeeded: outcome > 0, not_found: outcome < 0 })
        }
        None => None,
    };
    Some(MachineRow {
        key: integer(row, 0)?,
        tenant: integer(row, 1)?,
        departed_at: optional(row, 2, at)?,
        machine: Machine { facts, assessment, attempt },
    })
}

/// A missing update, with the facts that `shared_facts` returns for a key.
pub(super) fn missing_update(
    row: &Row<'_>,
    shared_facts: impl FnOnce(i64) -> Option<Arc<UpdateFacts>>,
) -> Option<MissingUpdate> {
    let kb = KbId::new(small(integer(row, 1)?)?)?;
    let first_seen = time(row, 2)?;
    let (cves, reported_machines) = (optional(row, 4, small)?, optional(row, 5, small)?);
    let severity = optional(row, 6, severity)?;
    let score = optional(row, 7, |tenths| CvssScore::from_tenths(u8::try_from(tenths).ok()?))?;
    let chain = optional_text(row, 8, |links| chain::decode(links, kb))?;
    let facts = shared_facts(integer(row, 3)?)?;
    let update = ReportedUpdate { kb, facts, cves, reported_machines, severity, cvss: score };
    Some(MissingUpdate { update, first_seen, chain })
}

/// Facts about an update, with their key.
pub(super) fn update_facts(row: &Row<'_>) -> Option<(i64, Arc<UpdateFacts>)> {
    let products = serde_json::from_str(text(row, 2)?).ok()?;
    Some((integer(row, 0)?, Arc::new(UpdateFacts { title: text(row, 1)?.to_owned(), products })))
}

/// The tags of a machine, which are NULL where no list has shown any.
#[expect(clippy::option_option, reason = "the outer one stands for invalid values")]
fn tags(row: &Row<'_>, column: usize) -> Option<Option<Arc<[String]>>> {
    optional_text(row, column, |tags| {
        let tags: Vec<String> = serde_json::from_str(tags).ok()?;
        tags.is_sorted_by(|a, b| a < b).then(|| tags.into())
    })
}

fn onboarding(number: i64) -> Option<Onboarding> {
    let all = [Onboarding::Onboarded, Onboarding::NotOnboarded, Onboarding::Unreported];
    all.into_iter().find(|onboarding| onboarding_number(*onboarding) == number)
}

fn small(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn severity(number: i64) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity_number(*severity) == number)
}
