//! The record of an ordinary machine, as the API writes it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A complete record with this id and name. The other values are ordinary and may be changed.
pub(super) fn default_record(id: &str, name: Option<&str>) -> Map<String, Value> {
    let record = json!({
        "id": id,
        "mergedIntoMachineId": null,
        "isPotentialDuplication": false,
        "isExcluded": false,
        "exclusionReason": null,
        "computerDnsName": name,
        "firstSeen": "2023-03-20T08:15:00.1234567Z",
        "lastSeen": null,
        "osPlatform": "Windows10",
        "osVersion": null,
        "osProcessor": "x64",
        "version": "22H2",
        "lastIpAddress": "10.0.0.50",
        "lastExternalIpAddress": "203.0.113.10",
        "agentVersion": "10.8760.19045.5011",
        "osBuild": 19045,
    });
    let rest = json!({
        "healthStatus": "Active",
        "deviceValue": "Normal",
        "rbacGroupId": 0,
        "rbacGroupName": null,
        "riskScore": "Low",
        "exposureLevel": "Low",
        "isAadJoined": true,
        "aadDeviceId": null,
        "machineTags": [],
        "defenderAvStatus": "Updated",
        "onboardingStatus": "Onboarded",
        "osArchitecture": "64-bit",
        "managedBy": "Intune",
        "managedByStatus": "Success",
        "vmMetadata": null,
        "ipAddresses": [
            {"ipAddress": "10.0.0.50", "macAddress": "00155D0A0B0C", "type": "Ethernet", "operationalStatus": "Up"},
            {"ipAddress": null, "macAddress": "", "type": "Tunnel", "operationalStatus": "Down"}
        ],
    });
    let mut all = Map::new();
    for part in [record, rest] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    all
}

/// A machine record for a fleet made by a test: an active Windows 10 machine, last seen at `last_seen`.
///
/// Change the fields that the test is about, and pass it to
/// [`Control::add_machine`](super::Control::add_machine).
#[must_use]
pub fn machine_record(id: &str, name: &str, last_seen: Timestamp) -> Value {
    let mut record = default_record(id, Some(name));
    record.insert("lastSeen".to_owned(), Value::String(fraction(last_seen, 7)));
    Value::Object(record)
}

/// A timestamp with six or seven fraction digits, as the API writes it.
pub(super) fn fraction(time: Timestamp, digits: usize) -> String {
    format!("{time:.digits$}")
}
