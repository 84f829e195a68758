//! Updates that disappear because a newer one took their place, over several answers of both sources.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::facts::{self, Facts, FixedBuild, KbFacts};
use mde_exporter::fleet::{MissingUpdate, Totals};
use mde_exporter::model::{FactsSource, KbId, Source};
use mde_simulator::{Endpoint, Fault, MissingKb, Options, Realism, Times, machine_record};
use serde_json::json;

use crate::support::api::options;
use crate::support::clock::ManualClock;
use crate::support::export_server::gzip;
use crate::support::poller::{PollerHarness, all};

const MONTH: Duration = Duration::from_hours(24 * 28);

/// The KBs of six months. Each supersedes the one before it.
const MONTHS: [&str; 6] = ["5036801", "5036802", "5036803", "5036804", "5036805", "5036806"];

fn kb(id: &str) -> KbId {
    KbId::parse(id).unwrap()
}

/// The facts about the KBs of six months. The first one is in the builds from 10.0.19045.100 on.
fn facts() -> Facts {
    let of = |(place, id): (usize, &&str)| {
        let before = place.checked_sub(1).map(|place| kb(MONTHS[place]));
        let build = FixedBuild { build: 19_045, revision: 100 + u32::try_from(place).unwrap() };
        let supersedes = before.into_iter().collect();
        (kb(id), KbFacts { supersedes, builds: [build].into(), ..KbFacts::default() })
    };
    Facts::new([FactsSource::Msrc], MONTHS.iter().enumerate().map(of))
}

/// A poller of one machine, and the clock of the simulator.
struct OneMachine {
    harness: PollerHarness,
    simulator_clock: ManualClock,
}

impl OneMachine {
    async fn of(source: Source) -> Self {
        let simulator_clock = ManualClock::new();
        let clock = simulator_clock.clone();
        let options = Options { now: Arc::new(move || clock.now()), ..options(0, Realism::Plain) };
        let harness = PollerHarness::changed(options, |tenant| {
            tenant.machines = all();
            tenant.source = source;
        });
        let mut harness = harness.await;
        harness.poller = harness.poller.knowing(facts::fixed(facts()));
        harness.api.control().add_machine(machine_record("a1", "a1.example", harness.api.clock.now()));
        Self { harness, simulator_clock }
    }

    /// The same machine after a restart, with an unused quota.
    fn restarted(self) -> Self {
        let fleet = self.harness.poller.fleet().clone();
        let mut harness = self.harness.with(all(), fleet);
        harness.poller = harness.poller.knowing(facts::fixed(facts()));
        Self { harness, ..self }
    }

    fn now(&self) -> Timestamp {
        self.harness.api.clock.now()
    }

    /// Advances both clocks by a month. The machine stays active.
    fn advance(&self) {
        self.simulator_clock.advance(MONTH);
        self.harness.api.clock.advance(MONTH);
        self.harness.api.control().add_machine(machine_record("a1", "a1.example", self.now()));
    }

    /// Polls an answer with these updates.
    async fn answer(&mut self, ids: &[&str]) {
        let missing = ids.iter().map(|id| MissingKb::new(id, "")).collect();
        self.harness.api.control().set_missing("a1", missing);
        self.harness.poller.poll_all().await;
    }

    /// Polls an export version with these updates of a machine with this version of Windows.
    async fn version(&mut self, version: &str, ids: &[&str]) {
        let row = |id: &&str| {
            let row = json!({
                "DeviceId": "a1", "SoftwareVendor": "microsoft", "SoftwareName": "windows_10", "OSVersion": version,
                "CveId": "CVE-2026-1111", "RecommendedSecurityUpdateId": id,
            });
            format!("{row}\n")
        };
        // A row without an update: the machine is known, whatever it misses.
        let text: String = [""].iter().chain(ids).map(row).collect();
        let control = self.harness.api.control().clone();
        control.clear();
        control.inject(Endpoint::ExportFile, Fault::Body(gzip(text.as_bytes())), Times::Always);
        self.harness.poller.poll_all().await;
    }

    fn missing(&self) -> &[MissingUpdate] {
        self.harness.poller.fleet().machines.values().next().unwrap().missing_updates()
    }

    /// The missing updates and their links.
    fn chains(&self) -> Vec<(String, Vec<String>)> {
        let links =
            |missing: &MissingUpdate| missing.links().iter().map(|link| link.kb.to_string()).collect();
        self.missing().iter().map(|missing| (missing.update.kb.to_string(), links(missing))).collect()
    }

    fn totals(&self) -> Totals {
        self.harness.poller.fleet().totals
    }

    /// The oldest first-seen times that the fleet and the machine show.
    fn oldest_shown(&self) -> [Option<Timestamp>; 2] {
        let scrape = self.harness.scrape();
        ["mde_oldest_missing_update_timestamp_seconds", "mde_machine_oldest_missing_update_timestamp_seconds"]
            .map(|family| {
                let seconds = scrape.value(family, &[])?;
                #[expect(clippy::cast_possible_truncation, reason = "a time of this century in milliseconds")]
                Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
            })
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The time to the millisecond, as the exposition shows it.
fn in_millis(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_millisecond(at.as_millisecond()).ok()
}

#[tokio::test]
async fn machine_that_never_installs_is_late_since_the_first_month() {
    for source in [Source::Machines, Source::Export] {
        let mut machine = OneMachine::of(source).await;
        let mut start = None;
        for (place, id) in MONTHS.iter().enumerate() {
            if place == 3 {
                machine = machine.restarted();
            }
            machine.advance();
            match source {
                Source::Machines => machine.answer(&[id]).await,
                Source::Export => machine.version("10.0.19045.99", &[id]).await,
            }
            let start = *start.get_or_insert(machine.missing()[0].first_seen);
            assert_eq!(machine.chains(), [((*id).to_owned(), texts(&MONTHS[..place]))], "{source:?}");
            assert_eq!(machine.missing()[0].oldest_first_seen(), start);
            assert_eq!(machine.oldest_shown(), [in_millis(start); 2]);
            let shown = machine.harness.scrape();
            assert_eq!(
                shown.value("mde_missing_updates_superseded_total", &[]),
                Some(f64::from(u8::try_from(place).unwrap()))
            );
            assert_eq!(shown.sum("mde_update_superseded_info"), f64::from(u8::try_from(place).unwrap()));
            let Totals { detected, resolved, superseded, dropped, .. } = machine.totals();
            let place = place as u64;
            assert_eq!((detected, resolved, superseded, dropped), (place + 1, 0, place, 0), "{source:?}");
        }
    }
}

#[tokio::test]
async fn build_of_the_export_shows_that_an_update_was_installed() {
    for (version, is_installed) in [
        ("10.0.19045.99", false),
        ("10.0.19045.100", true),
        ("10.0.19045.101", true),
        ("10.0.22631.5000", false),
        ("10.0.19045", false),
        ("", false),
    ] {
        let mut machine = OneMachine::of(Source::Export).await;
        machine.advance();
        machine.version("10.0.19045.50", &[MONTHS[0]]).await;
        machine.advance();
        machine.version(version, &[MONTHS[1]]).await;
        let Totals { resolved, superseded, .. } = machine.totals();
        assert_eq!((resolved, superseded), (u64::from(is_installed), u64::from(!is_installed)), "{version}");
        let links = if is_installed { &[][..] } else { &MONTHS[..1] };
        assert_eq!(machine.chains(), [(MONTHS[1].to_owned(), texts(links))], "{version}");
    }
}

#[tokio::test]
async fn superseded_updates_survive_a_restart() {
    let mut machine = OneMachine::of(Source::Machines).await;
    machine.answer(&MONTHS[..1]).await;
    let start = machine.missing()[0].first_seen;
    machine.advance();
    machine.answer(&MONTHS[2..3]).await;
    let mut machine = machine.restarted();
    machine.advance();
    machine.answer(&MONTHS[5..]).await;
    assert_eq!(machine.chains(), [(MONTHS[5].to_owned(), texts(&[MONTHS[0], MONTHS[2]]))]);
    assert_eq!(machine.missing()[0].oldest_first_seen(), start);
    machine.advance();
    machine.answer(&[]).await;
    let Totals { resolved, superseded, resolution, .. } = machine.totals();
    assert_eq!((resolved, superseded), (1, 2));
    assert_eq!(u128::from(resolution.sum_millis), (MONTH * 3).as_millis(), "from the oldest link");
}

#[tokio::test]
async fn nothing_is_superseded_without_facts() {
    let mut machine = OneMachine::of(Source::Machines).await;
    machine.harness.poller = machine.harness.poller.knowing(facts::fixed(Facts::default()));
    machine.answer(&MONTHS[..1]).await;
    machine.advance();
    machine.answer(&MONTHS[1..2]).await;
    let Totals { resolved, superseded, .. } = machine.totals();
    assert_eq!((resolved, superseded), (1, 0));
    assert_eq!(machine.chains(), [(MONTHS[1].to_owned(), texts(&[]))]);
}
