//! Writes the metrics that the exporter would have served in the past, so that dashboards can be viewed with
//! months of data.
//!
//! The real client, poller and renderer run with two simulated tenants on a clock that advances by six hours
//! per poll and ends now. The facts are made of the simulator's catalogues, once a week.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::CommandFactory as _;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use mde_exporter::cli::Cli;
use mde_exporter::clock::Clock;
use mde_exporter::config;
use mde_exporter::defender::{Client, QuotaHistory, RetryPolicy};
use mde_exporter::facts::{Facts, FactsFile, FactsReader, folder::from_memory};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::http::ProxyMode;
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::{
    ContentEncoding, DeadlineStart, DetailLevel, Exception, ExpositionFormat, FactsSource, MachineCondition,
    OwnLabel, Policy, ServicingEdition, ServicingRule, ServicingSettings, TextPattern,
};
use mde_exporter::poll::Poller;
use mde_exporter::publish::{Snapshot, publication};
use mde_exporter::self_metrics::{FactsTimes, SelfMetrics};
use mde_simulator::{Options, Patching, Realism, Simulator};
use tokio::sync::watch;

/// The time between two polls: the default of `poll.interval`.
const STEP: Duration = Duration::from_hours(6);
/// Polls per day.
const STEPS_PER_DAY: u32 = 4;
/// Polls between two updates of the facts.
const STEPS_PER_FACTS: u32 = 7 * STEPS_PER_DAY;
/// Months of documents that the facts are made of.
const FACTS_MONTHS: usize = 12;
/// The tenants and their numbers of machines.
const TENANTS: [(&str, usize); 2] = [("contoso", 60), ("fabrikam", 25)];

/// A past to simulate.
#[derive(Clone, Copy)]
pub(crate) struct Past {
    /// The number of days until now.
    pub(crate) days: u32,
    /// The pace at which the machines were patched.
    pub(crate) patching: Patching,
    /// The day on which patching stopped.
    pub(crate) stop_on: Option<u32>,
    /// The deepest level that is written.
    pub(crate) detail: DetailLevel,
}

/// What a tenant's simulator is started with.
struct TenantPast {
    seed: u64,
    name: &'static str,
    machines: usize,
    patching: Patching,
}

/// A tenant's simulator and poller.
struct SimulatedTenant {
    simulator: Simulator,
    poller: Poller,
}

/// Writes the history of a simulated past.
///
/// # Errors
/// When the simulators cannot be started or the output cannot be written.
pub(crate) fn write(past: Past, output: impl Write) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(write_steps(past, output))
}

async fn write_steps(past: Past, output: impl Write) -> Result<(), Box<dyn Error>> {
    let last_step = past.days * STEPS_PER_DAY;
    let start = Timestamp::now() - STEP * last_step;
    let current_step = Arc::new(AtomicU32::new(0));
    let step_of_clock = Arc::clone(&current_step);
    let clock = Clock::new(move || start + STEP * step_of_clock.load(Ordering::SeqCst));
    let version = Cli::command().get_version().unwrap_or_default().to_owned();
    let self_metrics = Arc::new(SelfMetrics::new(version.leak()));
    self_metrics.config_loaded(start);
    self_metrics.facts_on();

    let folder = tempfile::tempdir()?;
    let facts = watch::Sender::new(Arc::<Facts>::default());
    let mut tenants = Vec::new();
    for (seed, (name, machines)) in (1..).zip(TENANTS) {
        let facts = facts.subscribe();
        let past = TenantPast { seed, name, machines, patching: past.patching };
        tenants.push(start_tenant(past, folder.path(), &clock, &self_metrics, facts).await?);
    }
    let mut output = BufWriter::new(output);
    let mut renderer = Renderer::default();
    let options = options(past);
    for step in 0..=last_step {
        current_step.store(step, Ordering::SeqCst);
        for tenant in &mut tenants {
            if step > 0 && step.is_multiple_of(STEPS_PER_DAY) {
                tenant.simulator.control().skip_days(1);
            }
            if past.stop_on.is_some_and(|day| step == day * STEPS_PER_DAY) {
                tenant.simulator.control().stop_patching();
            }
        }
        if step.is_multiple_of(STEPS_PER_FACTS) {
            // The catalogues follow the calendar, which is the same for both tenants.
            facts.send_replace(Arc::new(read_facts(&tenants[0].simulator, clock.now(), &self_metrics)?));
        }
        for tenant in &mut tenants {
            tenant.poller.poll_all().await;
        }
        let fleets = tenants.iter().map(|tenant| Arc::new(tenant.poller.fleet().clone())).collect();
        let snapshot = Snapshot::render(
            &mut renderer,
            step.into(),
            fleets,
            clock.now(),
            &options,
            facts.borrow().clone(),
        );
        snapshot.record(&self_metrics, Duration::ZERO);
        write_scrape(&mut output, &snapshot, past.detail, &self_metrics, clock.now())?;
    }
    output.write_all(b"# EOF\n")?;
    output.flush()?;
    Ok(())
}

/// Makes facts of the simulator's catalogues of today.
fn read_facts(simulator: &Simulator, now: Timestamp, self_metrics: &SelfMetrics) -> io::Result<Facts> {
    let catalogues = simulator.control().catalogue_files(FACTS_MONTHS);
    let mut file = FactsFile::default();
    let read = from_memory(catalogues.iter().map(|(name, contents)| (&**name, &**contents)), &mut file, now);
    if let Some((name, problem)) = read.iter().find_map(|file| Some((&file.name, file.problem.as_ref()?))) {
        return Err(io::Error::other(format!("{name}: {problem}")));
    }
    let facts = file.facts();
    let times = FactsSource::ALL.map(|source| FactsTimes {
        source,
        data_at: facts.data_at(source),
        fetched_at: facts.fetched_at(source),
    });
    self_metrics.facts_loaded(facts.len(), times);
    Ok(facts)
}

/// The options of the exporter. Machines that are patched by their groups have an exception for the slowest group.
fn options(past: Past) -> RenderOptions {
    let day = Duration::from_hours(24);
    let policies = [
        Policy::single("14d", 14 * day, DeadlineStart::FirstSeen),
        Policy::single("14d of release", 14 * day, DeadlineStart::Released),
    ];
    RenderOptions {
        freshness: config::Poll::default().freshness,
        policies: policies.into(),
        detail: past.detail,
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        servicing: Arc::new(servicing(past)),
        exceptions: (past.patching == Patching::ByGroup).then(shop_floor).into_iter().collect(),
        ..RenderOptions::default()
    }
}

/// Windows 11 Enterprise, and Windows 10 with Extended Security Updates. Machines that are patched by their groups have
/// kiosks with Windows 11 Pro, and with Windows 10 without Extended Security Updates.
fn servicing(past: Past) -> ServicingSettings {
    fn rule<T>(
        value: T,
        condition: fn(Vec<TextPattern>) -> MachineCondition,
        pattern: &str,
    ) -> ServicingRule<T> {
        let conditions = vec![condition(vec![TextPattern::new(pattern)]).into()];
        ServicingRule { value, tenants: Vec::new(), conditions, place: "the history".into() }
    }
    let mut settings = ServicingSettings {
        editions: vec![rule(ServicingEdition::Enterprise, MachineCondition::Platforms, "Windows11")],
        extended: vec![rule(true, MachineCondition::Platforms, "Windows10")],
        ..ServicingSettings::default()
    };
    if past.patching == Patching::ByGroup {
        settings.editions.insert(0, rule(ServicingEdition::Pro, MachineCondition::DeviceGroups, "Kiosks"));
        settings.extended.insert(0, rule(false, MachineCondition::DeviceGroups, "Kiosks"));
    }
    settings
}

fn shop_floor() -> Exception {
    let groups = vec![TextPattern::new("Shop Floor")];
    Exception {
        name: "shop-floor".into(),
        reason: "the lines are patched when they stand still".to_owned(),
        until: TimeZone::UTC.to_datetime(Timestamp::now()).date().saturating_add(20.days()),
        tenants: Vec::new(),
        conditions: vec![MachineCondition::DeviceGroups(groups).into()],
        not: Vec::new(),
    }
}

async fn start_tenant(
    past: TenantPast,
    folder: &Path,
    clock: &Clock,
    self_metrics: &Arc<SelfMetrics>,
    facts: FactsReader,
) -> Result<SimulatedTenant, Box<dyn Error>> {
    let TenantPast { seed, name, machines, patching } = past;
    let now = clock.clone();
    let simulator = Simulator::start(Options {
        machines,
        seed,
        patching,
        start: TimeZone::UTC.to_datetime(clock.now()).date(),
        realism: Realism::Plain,
        quota_per_minute: None,
        quota_per_hour: None,
        ..Options::new(move || now.now())
    })
    .await?;
    let folder = folder.join(name);
    std::fs::create_dir(&folder)?;
    let file = |name: &str, text: &str| {
        std::fs::File::create_new(folder.join(name)).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    file("ca.pem", simulator.ca_pem())?;
    file("secret.txt", simulator.client_secret())?;
    let text = format!(
        "tenants:
  - name: {name}
    tenant_id: {}
    client_id: {}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {}
    api_url: {}
    http: {{ ca_file: ca.pem }}
    machines: {{ all: true }}
    quota: {{ per_minute: 1000000, per_hour: 10000000 }}
",
        simulator.tenant_id(),
        simulator.client_id(),
        simulator.authority_url(),
        simulator.api_url(),
    );
    let loaded = config::parse(&folder.join("mde_exporter.yml"), text.as_bytes())?;
    let tenant = &loaded.config.tenants[0];
    let (metrics, fleet) = (self_metrics.tenant(name), TenantFleet::new(Arc::clone(&tenant.name)));
    let (retry, random) = (RetryPolicy::default(), fastrand::Rng::with_seed(seed));
    let client = Client::new(
        tenant,
        ProxyMode::Direct,
        retry,
        random,
        QuotaHistory::default(),
        clock.clone(),
        metrics.clone(),
    )?;
    // Nothing reads the published snapshots: the fleet is taken from the poller.
    let fleets = vec![fleet.clone()];
    let (publisher, ..) = publication(
        fleets,
        RenderOptions::default(),
        clock.clone(),
        Arc::clone(self_metrics),
        None,
        facts.clone(),
    );
    let poll = loaded.config.poll;
    let poller = Poller::new(tenant, poll, client, fleet, publisher, metrics, clock.clone()).knowing(facts);
    Ok(SimulatedTenant { simulator, poller })
}

/// Writes one scrape: every sample with the labels of a target and a timestamp.
fn write_scrape(
    output: &mut impl Write,
    snapshot: &Snapshot,
    detail: DetailLevel,
    self_metrics: &SelfMetrics,
    at: Timestamp,
) -> io::Result<()> {
    let own = self_metrics.encode(ExpositionFormat::OpenMetrics);
    let pieces = snapshot.body.answer(detail, ExpositionFormat::OpenMetrics, ContentEncoding::Identity, own);
    let text: Vec<u8> = pieces.flatten().collect();
    for line in String::from_utf8_lossy(&text).lines() {
        if line.starts_with("# EOF") || line.starts_with("process_") {
            continue;
        }
        if line.starts_with('#') {
            writeln!(output, "{line}")?;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or((line, "NaN"));
        let target = "job=\"mde_exporter\",instance=\"history:10633\"";
        let labelled = match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{target},{labels}"),
            None => format!("{series}{{{target}}}"),
        };
        writeln!(output, "{labelled} {value} {}", at.as_second())?;
    }
    Ok(())
}
