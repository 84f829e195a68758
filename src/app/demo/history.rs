//! The history of the demo: what the exporter would have stored in the months before the start.
//!
//! The machine list comes from the simulated API as in operation, and each change of a machine is applied to the fleet
//! as a reply of that day would be. So ages, links and totals are those of months of polling. The changes do not come
//! over HTTP, because that would take longer than anybody watches a demo.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use mde_simulator::{Control, MissingKb};

use super::DAY_STARTS_AT;
use super::daily_counts::DailyCounts;
use super::machine_past::{HistorySpan, PastReading, is_silent};
use crate::app::progress::TerminalLine;
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::TenantStore;
use crate::defender::{Client, ListQuery, QuotaHistory, RetryPolicy};
use crate::error::{AppError, Chain};
use crate::facts::folder::from_memory;
use crate::facts::{Facts, FactsFile, FactsSettings, disk};
use crate::fleet::{
    BurnDown, DatedUpdate, ExportVersion, MachineAnswer, MachineFacts, PollStatus, ReportedUpdate,
    TenantFleet, UpdateFacts,
};
use crate::http::ProxyMode;
use crate::model::{KbId, MachineId, Source};
use crate::self_metrics::SelfMetrics;

/// The days of history: a little more than the eight months for which the API lists an update.
pub(super) const DAYS: i32 = 245;

/// Months of documents of which the facts are made.
const FACTS_MONTHS: usize = 12;

/// The number of machines after which the progress is shown again.
const PROGRESS_STEP: usize = 1_000;

/// The parts of which the history is made.
pub(super) struct History {
    pub(super) control: Control,
    pub(super) config: Config,
    pub(super) clock: Clock,
}

impl History {
    /// Writes the facts file in `folder`, and the fleet to `store`. A fleet of an earlier demo continues instead.
    ///
    /// # Errors
    /// Fails if the facts file cannot be written.
    pub(super) async fn write(
        self,
        store: &TenantStore,
        folder: &Path,
        self_metrics: &Arc<SelfMetrics>,
    ) -> Result<(), AppError> {
        let ids = self.control.machine_ids();
        for (_, id) in ids.iter().enumerate().filter(|(position, _)| is_silent(*position)) {
            self.control.silence(id);
        }
        let tenant = &self.config.tenants[0];
        if store.fleet(&tenant.name).listed_at.is_some() {
            return Ok(());
        }
        let machines = self.machines(self_metrics).await?;
        let facts = self.config.facts.clone().unwrap_or_default();
        let settings = FactsSettings::new(&facts, folder, ProxyMode::Direct);
        let store = store.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let file = self.facts_file()?;
            disk::save(settings.file(), &file)?;
            let (fleet, burn_down) = self.fleet(&machines, &settings.facts_in(file));
            let burn_downs = [(Arc::clone(&fleet.tenant), Arc::new(burn_down))].into();
            store.save(&[Arc::new(fleet)]);
            store.save_burn_downs(&burn_downs);
            Ok(())
        });
        let written = writing.await.expect("Safe: the history does not panic and is never aborted");
        written.map_err(|source| AppError::System { operation: "write the history of the demo", source })
    }

    /// The machines in scope, in the order of the simulation.
    async fn machines(&self, self_metrics: &Arc<SelfMetrics>) -> Result<Vec<MachineFacts>, AppError> {
        let tenant = &self.config.tenants[0];
        let (random, metrics) = (fastrand::Rng::new(), self_metrics.tenant(&tenant.name));
        let (retry, history) = (RetryPolicy::default(), QuotaHistory::default());
        let client =
            Client::new(tenant, ProxyMode::Direct, retry, random, history, self.clock.clone(), metrics);
        let client = client.map_err(|error| AppError::Configuration(Chain(&error).to_string()))?;
        let listed = client.machines(ListQuery::All).await.map_err(|error| AppError::System {
            operation: "read the machines of the simulation",
            source: io::Error::other(Chain(&error).to_string()),
        })?;
        let in_scope = listed.into_iter().filter(|machine| !machine.excluded_by_defender);
        let mut by_id: HashMap<_, _> =
            in_scope.map(|machine| (machine.facts.id.as_str().to_owned(), machine.facts)).collect();
        Ok(self.control.machine_ids().iter().filter_map(|id| by_id.remove(id)).collect())
    }

    /// The facts file that `facts update` would make of the catalogues of today.
    fn facts_file(&self) -> io::Result<FactsFile> {
        let now = self.clock.now();
        let catalogues = self.control.catalogue_files(FACTS_MONTHS);
        let mut file = FactsFile { made_at: now, index_fetched_at: Some(now), ..FactsFile::default() };
        let files = catalogues.iter().map(|(name, contents)| (&**name, &**contents));
        let read = from_memory(files, &mut file, now);
        match read.iter().find_map(|file| Some((&file.name, file.problem.as_ref()?))) {
            Some((name, problem)) => Err(io::Error::other(format!("{name}: {problem}"))),
            None => Ok(file),
        }
    }

    /// The fleet after the history, and the burn-down of its updates.
    fn fleet(&self, machines: &[MachineFacts], facts: &Facts) -> (TenantFleet, BurnDown) {
        let (tenant, poll) = (&self.config.tenants[0], &self.config.poll);
        let now = self.clock.now();
        let start = now - SignedDuration::from_hours(24 * i64::from(DAYS));
        let span = HistorySpan { start, now, interval: poll.interval };
        let first_day = TimeZone::UTC.to_datetime(start - DAY_STARTS_AT).date();
        let mut fleet = TenantFleet::new(Arc::clone(&tenant.name));
        fleet.apply_list(machines.to_vec(), now, &poll.freshness);
        fleet.source = tenant.source;
        fleet.selectors = tenant.machines.digest().into();
        fleet.status =
            PollStatus { up: true, last_poll: Some(now), last_success: Some(now), ..PollStatus::default() };
        let mut reported = ReportedUpdates::default();
        let mut counts = DailyCounts::default();
        let mut newest: HashMap<MachineId, MachineAnswer> = HashMap::new();
        let progress = TerminalLine::new();
        for (position, machine) in machines.iter().enumerate() {
            if position % PROGRESS_STEP == 0 {
                progress.write(&format!("history of {position} of {} machines", machines.len()));
            }
            let past = self.control.past(machine.id.as_str(), first_day);
            let misses_updates = past.last().is_some_and(|(_, missing)| !missing.is_empty());
            let Some(period) = span.period(position, machine, misses_updates) else { continue };
            let readings = period.readings(past);
            counts.add_machine(&readings, period.counts_until(now));
            for PastReading { at, missing } in readings {
                let answer = reported.answer(missing, &self.control);
                if tenant.source == Source::Export && at == period.last() && !is_silent(position) {
                    newest.insert(machine.id.clone(), answer);
                } else {
                    fleet.apply_answer(&machine.id, at, answer, &poll.freshness, facts);
                }
            }
        }
        if tenant.source == Source::Export {
            let version = ExportVersion::new(now, now, false, None);
            fleet.apply_export(version, |id| newest.remove(id), &poll.freshness, facts);
        }
        progress.clear();
        (fleet, counts.burn_down(start, now, facts))
    }
}

/// The updates that the simulation reports, each once.
#[derive(Default)]
struct ReportedUpdates(HashMap<(String, Vec<String>), Option<ReportedUpdate>>);

impl ReportedUpdates {
    /// The answer about a machine that misses `missing`.
    fn answer(&mut self, missing: Vec<MissingKb>, control: &Control) -> MachineAnswer {
        let updates = missing.into_iter().filter_map(|missing| {
            let key = (missing.id.clone(), missing.products.clone());
            let update = self.0.entry(key).or_insert_with(|| reported_update(missing, control)).clone()?;
            Some(DatedUpdate { update, first_seen: None })
        });
        MachineAnswer { updates: updates.collect(), ..MachineAnswer::default() }
    }
}

/// The update as a reply would report it today.
fn reported_update(missing: MissingKb, control: &Control) -> Option<ReportedUpdate> {
    let reported_machines = u32::try_from(control.reported_machines(&missing.id)).ok();
    Some(ReportedUpdate {
        kb: KbId::parse(&missing.id)?,
        facts: Arc::new(UpdateFacts { title: missing.title, products: missing.products }),
        cves: Some(missing.cves),
        reported_machines,
        severity: None,
        cvss: None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use mde_simulator::Simulator;

    use super::super::{configuration, options};
    use super::*;
    use crate::cli::DemoFlags;
    use crate::config;
    use crate::fleet::MissingUpdate;
    use crate::fleet::burn_down::day_of;

    const NOW: &str = "2026-11-30T12:00:00Z";

    /// The fleet of a demo that starts at this time.
    async fn fleet(machines: usize, now: &str) -> (TenantFleet, BurnDown) {
        let now: jiff::Timestamp = now.parse().unwrap();
        let demo = DemoFlags { machines, source: Source::Machines };
        let clock = Clock::new(move || now);
        let simulator = Simulator::start(options(demo, clock.clone())).await.unwrap();
        let today = TimeZone::UTC.to_datetime(now).date();
        let folder = configuration::write(&simulator, demo, today).unwrap();
        let config = config::load(&folder.path().join("mde_exporter.yml")).unwrap().config;
        let history = History { control: simulator.control().clone(), config, clock };
        let machines = history.machines(&Arc::new(SelfMetrics::new("0.0.0"))).await.unwrap();
        let facts = history.facts_file().unwrap().facts();
        history.fleet(&machines, &facts)
    }

    #[tokio::test]
    async fn same_seed_and_time_give_the_same_fleet() {
        let ((one, burn_down), (two, same)) = (fleet(60, NOW).await, fleet(60, NOW).await);
        assert_eq!(burn_down, same);
        assert_eq!(one.machines, two.machines);
        assert_eq!(one.totals, two.totals);
        assert!(one.totals.resolved > 300 && one.totals.superseded > 0, "{:?}", one.totals);
    }

    #[tokio::test]
    async fn times_of_the_history_lie_between_its_start_and_now() {
        for now in [NOW, "2026-12-08T16:59:00Z", "2026-12-08T18:01:00Z", "2027-01-01T00:00:00Z"] {
            let (fleet, burn_down) = fleet(200, now).await;
            let now: jiff::Timestamp = now.parse().unwrap();
            let start = now - SignedDuration::from_hours(24 * i64::from(DAYS));
            let updates = || fleet.machines.values().flat_map(|machine| machine.missing_updates());
            assert!(updates().count() > 30, "{now}");
            for update in updates() {
                assert!((start..=now).contains(&update.oldest_first_seen()), "{now}: {update:?}");
            }
            let read = fleet.machines.values().filter_map(|machine| machine.assessment.as_ref());
            assert!(read.clone().count() > 190, "{now}");
            assert!(read.into_iter().all(|assessment| assessment.fetched_at <= now), "{now}");
            let oldest = updates().map(MissingUpdate::oldest_first_seen).min().unwrap();
            assert!(oldest < now - SignedDuration::from_hours(24 * 200), "{now}: {oldest}");
            assert!(burn_down.updates().count() > 8, "{now}");
            for (kb, update) in burn_down.updates() {
                let days = i32::try_from(update.machines().len()).unwrap();
                let last = update.first_day().saturating_add((days - 1).days());
                assert!(last <= day_of(now), "{now}: {kb} has a number of {last}");
                let falls =
                    update.machines().iter().flatten().max() > update.machines().last().unwrap().as_ref();
                assert!(days < 30 || falls, "{now}: {kb} {update:?}");
            }
        }
    }
}
