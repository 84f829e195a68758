//! The table `burn_down`: the daily numbers of machines that miss an update.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row, params};

use super::persisted_state::merge_join;
use super::row::{at, each, integer, optional, text, time};
use super::statements::Statements;
use crate::fleet::BurnDown;
use crate::fleet::burn_down::{UpdateBurnDown, day_of};
use crate::model::KbId;

/// Reads the burn-downs of the tenants with a row, by the key of that row.
pub(super) fn load(
    connection: &Connection,
    has_row: impl Fn(i64) -> bool,
    skipped: &mut u64,
) -> rusqlite::Result<BTreeMap<i64, BurnDown>> {
    let mut updates: HashMap<i64, Vec<(KbId, UpdateBurnDown)>> = HashMap::new();
    let query = "SELECT tenant, kb, first_seen, released, first_day, machines FROM burn_down";
    each(connection, query, skipped, |row| {
        let tenant = integer(row, 0).filter(|key| has_row(*key))?;
        let update = update(row)?;
        updates.entry(tenant).or_default().push(update);
        Some(())
    })?;
    Ok(updates.into_iter().map(|(tenant, updates)| (tenant, updates.into_iter().collect())).collect())
}

fn update(row: &Row<'_>) -> Option<(KbId, UpdateBurnDown)> {
    let kb = KbId::new(u32::try_from(integer(row, 1)?).ok()?)?;
    let (first_seen, released) = (time(row, 2)?, optional(row, 3, at)?);
    let first_day = time(row, 4).filter(|start| start_of_day(*start) == Some(*start)).map(day_of)?;
    let machines = serde_json::from_str(text(row, 5)?).ok()?;
    Some((kb, UpdateBurnDown::new(first_seen, released, first_day, machines)?))
}

/// Writes the updates of a tenant whose numbers differ. Returns the number of rows.
pub(super) fn write(
    statements: &mut Statements<'_>,
    tenant: i64,
    old: Option<&BurnDown>,
    new: &BurnDown,
) -> rusqlite::Result<usize> {
    let mut rows = 0;
    for (kb, old, new) in merge_join(old.into_iter().flat_map(BurnDown::updates), new.updates()) {
        rows += match new {
            _ if old == new => 0,
            None => statements.delete_burn_down.execute(params![tenant, kb.number()])?,
            Some(new) => statements.put_burn_down.execute(params![
                tenant,
                kb.number(),
                new.first_seen().as_millisecond(),
                new.released().map(Timestamp::as_millisecond),
                TimeZone::UTC.to_timestamp(new.first_day().into()).ok().map(Timestamp::as_millisecond),
                serde_json::to_string(new.machines()).expect("Safe: numbers are always JSON"),
            ])?,
        };
    }
    Ok(rows)
}

fn start_of_day(at: Timestamp) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(day_of(at).into()).ok()
}
