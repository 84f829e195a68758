//! The table `unreadable`: the ids of a machine that are no KBs, and the missing updates that they hold.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::machine_row::MachineRow;
use super::persisted_state::source_name;
use super::row::{at, each, integer, source, text};
use crate::fleet::unreadable::{HeldUpdate, UnreadableId, UnreadableIds};
use crate::fleet::{Assessment, Machine};
use crate::model::KbId;

/// Selects the columns of [`read`].
pub(super) const SELECT: &str = "SELECT machine, ids, held FROM unreadable";

/// An id: its text, true if it is in the newest answer, and the numbers of the KBs that it never appeared with.
type IdColumns = (String, bool, Vec<u32>);

/// A held update: the number of its KB, the time since which it is held in milliseconds, and the source that
/// listed it last.
type HeldColumns = (u32, i64, String);

/// The unreadable ids of a machine, in the form in which they are compared and written.
pub(super) fn of(machine: &Machine) -> Option<&UnreadableIds> {
    machine.assessment.as_ref()?.unreadable.as_deref()
}

/// The columns `ids` and `held`.
pub(super) fn encode(unreadable: &UnreadableIds) -> (String, String) {
    let id = |id: &UnreadableId| {
        let apart_from = id.apart_from.iter().map(|kb| kb.number()).collect();
        (id.text.to_string(), id.is_newest, apart_from)
    };
    let held = |held: &HeldUpdate| {
        (held.kb.number(), held.since.as_millisecond(), source_name(held.source).to_owned())
    };
    let ids: Vec<IdColumns> = unreadable.ids.iter().map(id).collect();
    let held: Vec<HeldColumns> = unreadable.held.iter().map(held).collect();
    let json = "Safe: text and numbers are always JSON";
    (serde_json::to_string(&ids).expect(json), serde_json::to_string(&held).expect(json))
}

/// Reads the table into `machines`, which are sorted by key and have their missing updates.
pub(super) fn load(
    connection: &Connection,
    machines: &mut [MachineRow],
    skipped: &mut u64,
) -> rusqlite::Result<()> {
    // Most machines have the same ids.
    let mut texts: HashSet<Arc<str>> = HashSet::new();
    each(connection, SELECT, skipped, |row| {
        let key = integer(row, 0)?;
        let place = machines.binary_search_by_key(&key, |machine| machine.key).ok()?;
        let assessment = machines[place].machine.assessment.as_mut()?;
        let unreadable = read(row, assessment, &mut texts);
        if unreadable.is_none() {
            assessment.expire();
        }
        assessment.unreadable = Some(Box::new(unreadable?));
        Some(())
    })
}

/// Reads a row of the machine with this assessment, which has its missing updates.
pub(super) fn read(
    row: &Row<'_>,
    assessment: &Assessment,
    texts: &mut HashSet<Arc<str>>,
) -> Option<UnreadableIds> {
    let mut unreadable = decode(text(row, 1)?, text(row, 2)?)?;
    let is_missing =
        |kb: KbId| assessment.missing_updates.binary_search_by_key(&kb, |missing| missing.update.kb).is_ok();
    unreadable.held.iter().all(|held| is_missing(held.kb)).then_some(())?;
    for id in &mut unreadable.ids {
        match texts.get(&id.text) {
            Some(known) => id.text = Arc::clone(known),
            None => drop(texts.insert(Arc::clone(&id.text))),
        }
    }
    Some(unreadable)
}

fn decode(ids: &str, held: &str) -> Option<UnreadableIds> {
    let ids: Vec<IdColumns> = serde_json::from_str(ids).ok()?;
    let held: Vec<HeldColumns> = serde_json::from_str(held).ok()?;
    let id = |(text, is_newest, apart_from): IdColumns| {
        let apart_from: Option<Box<[_]>> = apart_from.into_iter().map(KbId::new).collect();
        Some(UnreadableId { text: text.into(), is_newest, apart_from: apart_from? })
    };
    let held_update = |(kb, since, name): HeldColumns| {
        Some(HeldUpdate { kb: KbId::new(kb)?, since: at(since)?, source: source(&name)? })
    };
    let ids: Box<[_]> = ids.into_iter().map(id).collect::<Option<_>>()?;
    let held: Box<[_]> = held.into_iter().map(held_update).collect::<Option<_>>()?;
    // Searches rely on the order.
    let is_sorted = ids.is_sorted_by(|a, b| a.text < b.text)
        && ids.iter().all(|id| id.apart_from.is_sorted())
        && held.is_sorted_by_key(|held| held.kb);
    is_sorted.then_some(UnreadableIds { ids, held })
}
