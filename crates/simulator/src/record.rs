//! A record of the machine list: generated, or added by a test.

use jiff::Timestamp;
use serde_json::Value;

use super::machine::SimulatedMachine;

/// A record of the machine list.
pub(super) enum MachineRecord {
    Generated(Box<SimulatedMachine>),
    Raw(Value),
}

impl From<SimulatedMachine> for MachineRecord {
    fn from(machine: SimulatedMachine) -> Self {
        Self::Generated(Box::new(machine))
    }
}

impl MachineRecord {
    /// The machine of a generated record.
    pub(super) fn generated(&self) -> Option<&SimulatedMachine> {
        match self {
            Self::Generated(machine) => Some(machine),
            Self::Raw(_) => None,
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Generated(machine) => Some(&machine.id),
            Self::Raw(value) => value.get("id").and_then(Value::as_str),
        }
    }

    /// A field by its name in the API; `Null` if absent.
    pub(super) fn field(&self, name: &str, now: Timestamp) -> Value {
        match self {
            Self::Generated(machine) => machine.field(name, now).unwrap_or_default(),
            Self::Raw(value) => value.get(name).cloned().unwrap_or_default(),
        }
    }

    pub(super) fn to_json(&self, now: Timestamp) -> Value {
        match self {
            Self::Generated(machine) => Value::Object(machine.record(now)),
            Self::Raw(value) => value.clone(),
        }
    }

    pub(super) fn has_tag(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Generated(machine) => machine.tags.iter().any(|tag| matches(tag)),
            Self::Raw(value) => value
                .get("machineTags")
                .and_then(Value::as_array)
                .is_some_and(|tags| tags.iter().filter_map(Value::as_str).any(matches)),
        }
    }
}
