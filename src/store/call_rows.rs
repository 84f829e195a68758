//! Writes the calls of the last hour.

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::persisted_state::RecordedCalls;
use crate::model::ApiOperation;

/// Adds calls of `tenant`, and deletes all calls that are not later than `horizon`.
pub(super) fn add_calls(
    connection: &mut Connection,
    tenant: &str,
    made: &[(Timestamp, ApiOperation)],
    horizon: Timestamp,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM call WHERE at <= ?1", [horizon.as_millisecond()])?;
    insert_calls(&transaction, tenant, made)?;
    transaction.commit()
}

/// Replaces all calls in the file by `calls`.
pub(super) fn replace_calls(connection: &mut Connection, calls: &RecordedCalls) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM call", [])?;
    for (tenant, made) in &calls.0 {
        insert_calls(&transaction, tenant, made)?;
    }
    transaction.commit()
}

fn insert_calls(
    transaction: &Transaction<'_>,
    tenant: &str,
    made: &[(Timestamp, ApiOperation)],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare("INSERT INTO call (tenant, at, endpoint) VALUES (?1, ?2, ?3)")?;
    let mut insert = |at: Timestamp, operation: ApiOperation| {
        insert.execute(params![tenant, at.as_millisecond(), operation.as_str()]).map(drop)
    };
    made.iter().try_for_each(|(at, operation)| insert(*at, *operation))
}
