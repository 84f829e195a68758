//! Own labels follow the tags of the machine list.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::OwnLabel;
use mde_exporter::publish::Snapshot;
use serde_json::json;

use crate::support::exposition::{Exposition, parse};
use crate::support::poller::{INTERVAL, PollerHarness};

/// The current exposition with the own label `team`.
fn scrape(harness: &PollerHarness) -> Exposition {
    let options = RenderOptions {
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        freshness: harness.freshness,
        ..RenderOptions::default()
    };
    let fleets = vec![Arc::new(harness.poller.fleet().clone())];
    let now = harness.api.clock.now();
    let snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets, now, &options, Arc::default());
    parse(&String::from_utf8(snapshot.body.plain(b"")).unwrap()).unwrap()
}

/// The team of each machine.
fn owners(scrape: &Exposition) -> BTreeMap<String, String> {
    let samples = scrape.samples("mde_machine_info");
    samples.map(|sample| (sample.label("machine_id").to_owned(), sample.label("team").to_owned())).collect()
}

/// The fresh machines of each team.
fn machines(scrape: &Exposition) -> BTreeMap<String, f64> {
    let mut teams = scrape.sum_by("mde_assessed_machines", "team");
    teams.retain(|_, machines| *machines > 0.0);
    teams
}

#[tokio::test]
async fn changed_tag_moves_the_machine_with_the_next_list() {
    let mut harness = PollerHarness::all(12).await;
    harness.poller.poll().await;
    let ids = harness.api.control().machine_ids();
    let tag = |id: &str, tags: serde_json::Value| {
        let mut record = harness.api.control().machine(id).unwrap();
        record["machineTags"] = tags;
        harness.api.control().add_machine(record);
    };
    for id in &ids {
        tag(id, json!(["hq", "team:a"]));
    }
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    assert_eq!(machines(&scrape(&harness)), [("a".to_owned(), 12.0)].into());

    // In another case, with an earlier tag, without a tag of the prefix, and without tags.
    tag(&ids[0], json!(["TEAM:b", "team:a"]));
    tag(&ids[1], json!(["team:z", "team:B"]));
    tag(&ids[2], json!(["team", "a team:a"]));
    tag(&ids[3], json!(null));
    let calls = harness.api.requests();
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    let moved = scrape(&harness);
    let expected = [("", 2.0), ("B", 1.0), ("a", 8.0), ("b", 1.0)];
    assert_eq!(machines(&moved), expected.map(|(team, count)| (team.to_owned(), count)).into());
    let owners = owners(&moved);
    let teams: Vec<&str> = ids[..5].iter().map(|id| owners[id].as_str()).collect();
    assert_eq!(teams, ["b", "B", "", "", "a"]);
    assert_eq!(harness.api.requests(), calls + 13, "one list, and one call for each machine");
}
