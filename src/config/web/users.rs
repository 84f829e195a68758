//! The section `basic_auth_users`.

use std::collections::BTreeMap;

use super::PasswordHash;
use crate::config::reader::ValueReader;

const ALLOWED: &str =
    "a user name without colon and its bcrypt hash, as `mde_exporter hash-password` prints it, is allowed";

/// A cost at which a verification takes seconds on any current machine.
const HIGH_COST: u32 = 15;

pub(super) fn read(field: &ValueReader<'_>) -> Option<BTreeMap<String, PasswordHash>> {
    let section = field.section()?;
    let entries = section.entries(ALLOWED, user_name);
    let users: Vec<_> = entries
        .into_iter()
        .map(|(name, field)| {
            let (hash, cost) = field.text(password_hash)?;
            if cost >= HIGH_COST {
                field.warning("has a cost at which a login takes seconds", "a cost of 10 is advised");
            }
            Some((name.to_owned(), hash))
        })
        .collect();
    users.into_iter().collect()
}

/// Checks a user name by RFC 7617, section 2: a colon ends the name, and control characters cannot be sent.
fn user_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("the user name is empty"),
        name if name.contains(':') => Err("the user name holds a colon"),
        name if name.contains(char::is_control) => Err("the user name holds a control character"),
        _ => Ok(()),
    }
}

/// Parses a hash and its cost. The variant `2x` marks hashes of a faulty program from before 2011, which a
/// correct implementation cannot verify.
fn password_hash(text: &str) -> Result<(PasswordHash, u32), &'static str> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| "is not a bcrypt hash")?;
    match parts.get_cost() {
        _ if text.starts_with("$2x$") => Err("is a bcrypt hash of the faulty variant 2x"),
        cost @ 4..=31 => Ok((PasswordHash(text.to_owned()), cost)),
        _ => Err("is a bcrypt hash with a cost that does not exist"),
    }
}
