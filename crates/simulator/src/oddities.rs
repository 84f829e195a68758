//! The oddities of a realistic fleet: records outside the scope, a twin, and entries as seen in real replies.

use serde_json::{Value, json};

use super::machine::{MachineKind, SimulatedMachine};
use super::options::{Patching, Realism};
use super::random::machine_id;
use super::record::MachineRecord;

/// Minimum size of a fleet with a twin.
const SMALLEST_WITH_TWIN: usize = 24;

/// Adds records outside the requested fleet, and makes the last machine a twin of the first.
pub(super) fn add_oddities(records: &mut Vec<MachineRecord>, seed: u64, machines: usize) {
    let named_like_first = |position: usize, kind: MachineKind| -> Option<Box<SimulatedMachine>> {
        let first = match records.first() {
            Some(MachineRecord::Generated(first)) => first.name.clone(),
            _ => return None,
        };
        let mut machine = SimulatedMachine::generate(seed, position, Realism::Realistic, Patching::ByGroup);
        machine.name = first;
        machine.kind = kind;
        Some(Box::new(machine))
    };
    let first_id = machine_id(seed, 0);
    let merged = named_like_first(machines, MachineKind::MergedInto(first_id));
    let twin = named_like_first(machines.saturating_sub(1), MachineKind::Inactive);
    if machines >= SMALLEST_WITH_TWIN
        && let (Some(twin), Some(last)) = (twin, records.last_mut())
    {
        *last = MachineRecord::Generated(twin);
    }
    records.extend(merged.map(MachineRecord::Generated));
    let mut excluded = SimulatedMachine::generate(seed, machines + 1, Realism::Realistic, Patching::ByGroup);
    excluded.kind = MachineKind::Excluded;
    records.push(excluded.into());
    for id in [Value::Null, json!(""), json!(7)] {
        records.push(MachineRecord::Raw(json!({
            "id": id, "computerDnsName": "no-id.corp.example", "osPlatform": "Windows10", "healthStatus": "Active",
        })));
    }
}

/// Adds oddities seen in real replies to the entries of some machines.
pub(super) fn add_entry_oddities(entries: &mut Vec<Value>, index: usize) {
    for entry in entries.iter_mut() {
        match index % 5 {
            1 => entry["osBuild"] = json!(entry["osBuild"].to_string()),
            2 => entry["osBuild"] = Value::Null,
            _ => {}
        }
        if index % 7 == 3 {
            entry["productsNames"] = Value::Null;
        }
        if index % 17 == 5 {
            let id = entry["id"].as_str().unwrap_or_default().to_owned();
            entry["id"] = json!(match index % 3 {
                0 => format!("KB{id}"),
                1 => format!("KB {id}"),
                _ => format!("{id} (x64)"),
            });
        }
    }
    if index % 11 == 4
        && let Some(first) = entries.first().cloned()
    {
        entries.push(first);
    }
    if index % 29 == 8
        && let Some(mut first) = entries.first().cloned()
    {
        // An update of Office is reported without a KB.
        first["id"] = json!("Click to Run");
        entries.push(first);
    }
    if index % 13 == 6
        && let Some(mut first) = entries.first().cloned()
    {
        first["id"] = Value::Null;
        entries.push(first);
    }
}
