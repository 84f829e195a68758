//! `report`: writes a report for auditors from the state on disk.
//!
//! The command sends no request, and changes nothing in the folder of the state, so that it can run while an exporter
//! runs there as another user. If the state file changed while it was read, the report is written again; nothing of it
//! is visible before.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use jiff::Timestamp;

use super::load::validate;
use crate::cli::{Flags, ReportFlags};
use crate::clock::Clock;
use crate::config::{Config, Tenant, exceptions_section, expand};
use crate::daemon::{ignored_updates, log_warnings};
use crate::error::{AppError, Chain};
use crate::facts::disk;
use crate::facts::{Facts, FactsSettings};
use crate::fleet::Machine;
use crate::fleet::policy::{lacking_for_exception, lacking_for_policy};
use crate::fleet::summary::UpdateCollector;
use crate::http::ProxyMode;
use crate::model::{Exception, IgnoredUpdates, Policy, ReportFormat, Shard};
use crate::report::csv::CsvWriter;
use crate::report::html::HtmlWriter;
use crate::report::json::JsonWriter;
use crate::report::metadata::FactsDates;
use crate::report::output::ReportDraft;
use crate::report::summary::TenantCounts;
use crate::report::{
    ReportMetadata, ReportOutput, ReportRow, ReportSummary, ReportTerms, RowWriter, TenantRows,
};
use crate::store::{MachineKey, MachineReader, ReadError, StateReader, is_state_file};

/// The number of machines that are passed to the thread that writes rows at once, and how many times as many may wait.
const BATCH: usize = 64;
const READ_AHEAD: usize = 8;

/// Writes the report.
///
/// # Errors
/// Fails if the configuration or the selection is invalid, if there is no usable state, and if the output cannot be
/// written.
pub(super) fn report(report: &ReportFlags, flags: &Flags, clock: &Clock) -> Result<(), AppError> {
    let (mut loaded, _) = validate(flags.config_file(), None)?;
    log_warnings(&loaded.warnings);
    loaded.config.keep_shard(flags.shard);
    let config = &loaded.config;
    refuse_own_files(report.output.as_deref(), flags)?;
    let tenants = tenants(config, flags.shard, &report.tenants)?;
    let policy = policy(config, report.policy.as_deref())?;
    let (facts, dates, without_facts) = facts(config, flags);
    let now = clock.now();
    let lacking = policy.and_then(|policy| lacking_facts(policy, &tenants, &facts));
    let uncovered = exceptions_without_facts(&config.exceptions, &tenants, &facts, now);
    let metadata = ReportMetadata {
        time: now,
        version: env!("CARGO_PKG_VERSION"),
        state_saved_at: None,
        facts: dates,
        policy: policy.map(|policy| policy.name.to_string()),
        tenants: tenants.iter().map(|tenant| tenant.name.to_string()).collect(),
        states: report.states.clone(),
        warnings: without_facts.into_iter().chain(lacking).chain(uncovered).collect(),
        policies: expand(&config.policies),
        exceptions: exceptions_section(&config.exceptions),
    };
    let rules = (policy, &*config.exceptions, &config.servicing);
    let terms = ReportTerms::new(now, config.poll.freshness, &facts, &config.metrics.labels, rules);
    let ignored = ignored_updates(config);
    let mut job =
        ReportJob { report, config, facts: &facts, tenants, ignored, terms, metadata, skipped_rows: 0 };
    let mut reader = StateReader::open(flags.storage_path(), now).map_err(JobError::State)?;
    loop {
        match job.write(&reader) {
            Ok(_) | Err(JobError::State(_)) if !reader.is_consistent() => {
                // What was read is not the state at any time.
                reader = reader.open_again().map_err(JobError::State)?;
            }
            // The metadata may precede the rows, and has to name them.
            Ok(written) if written.skipped_rows != job.skipped_rows => {
                job.skipped_rows = written.skipped_rows;
            }
            outcome => return Ok(outcome.and_then(|written| job.publish(written))?),
        }
    }
}

/// Everything that a report is made of, except for the state.
struct ReportJob<'a> {
    report: &'a ReportFlags,
    config: &'a Config,
    facts: &'a Facts,
    /// Sorted by name.
    tenants: Vec<&'a Tenant>,
    ignored: IgnoredUpdates,
    terms: ReportTerms<'a>,
    /// Without what the state adds.
    metadata: ReportMetadata,
    /// The invalid rows of the state file, as far as they are known.
    skipped_rows: u64,
}

/// A complete report that is not visible yet.
struct WrittenReport {
    output: ReportOutput,
    draft: ReportDraft,
    metadata: ReportMetadata,
    skipped_rows: u64,
}

enum JobError {
    State(ReadError),
    Output(io::Error),
}

impl ReportJob<'_> {
    fn write(&self, reader: &StateReader) -> Result<WrittenReport, JobError> {
        let output = ReportOutput::new(self.report.output.as_deref());
        let mut draft = output.draft()?;
        let metadata = self.metadata(reader);
        let labels = &self.config.metrics.labels;
        let mut writer: Box<dyn RowWriter + Send + '_> = match self.report.format {
            ReportFormat::Csv => Box::new(CsvWriter::new(&mut draft, labels)?),
            ReportFormat::Json => Box::new(JsonWriter::new(&mut draft, labels, &metadata)?),
            ReportFormat::Html => Box::new(HtmlWriter::new(&mut draft, labels, metadata.clone())),
        };
        // Each machine is read twice: the rows of one machine have values that depend on all of them.
        let mut readers = [reader.machine_reader()?, reader.machine_reader()?];
        let mut summary = ReportSummary::default();
        for tenant in &self.tenants {
            summary.tenants.push(self.write_tenant(tenant, reader, &mut readers, &mut *writer)?);
        }
        writer.finish(&summary)?;
        let skipped_rows = readers[0].skipped_rows();
        Ok(WrittenReport { output, draft, metadata, skipped_rows })
    }

    fn write_tenant(
        &self,
        tenant: &Tenant,
        reader: &StateReader,
        [first, second]: &mut [MachineReader<'_>; 2],
        writer: &mut (dyn RowWriter + Send),
    ) -> Result<TenantCounts, JobError> {
        let mut collector = UpdateCollector::new(self.facts);
        for key in reader.machines_by_place(&tenant.name) {
            let machine = self.read(first, key)?;
            let updates = machine.iter().filter_map(|machine| self.terms.assessed_updates(machine)).flatten();
            for missing in updates {
                collector.add(missing);
            }
        }
        let updates = collector.finish();
        let rows = TenantRows::new(&self.terms, &tenant.name, tenant.source, &updates);
        let (sender, machines) = mpsc::sync_channel(READ_AHEAD);
        // Reading takes about as long as judging and writing.
        thread::scope(move |scope| {
            let writing = scope.spawn(move || self.write_rows(machines, rows, writer));
            for keys in reader.machines(&tenant.name).chunks(BATCH) {
                let batch = keys.iter().filter_map(|key| self.read(second, key).transpose());
                let is_received = sender.send(batch.collect::<Result<Vec<_>, _>>()?).is_ok();
                if !is_received {
                    // The output cannot be written, and the thread has ended with the reason.
                    break;
                }
            }
            drop(sender);
            let counts = writing.join().expect("Safe: making rows does not panic");
            Ok(counts?)
        })
    }

    fn write_rows(
        &self,
        machines: mpsc::Receiver<Vec<Machine>>,
        mut rows: TenantRows<'_>,
        writer: &mut (dyn RowWriter + Send),
    ) -> io::Result<TenantCounts> {
        for machine in machines.into_iter().flatten() {
            rows.of_machine(&machine, |row| if self.selects(row) { writer.row(row) } else { Ok(()) })?;
        }
        Ok(rows.into_counts())
    }

    /// Reads a machine without the ignored updates, which the state has until the next poll.
    fn read(&self, reader: &mut MachineReader<'_>, key: &MachineKey) -> Result<Option<Machine>, ReadError> {
        let mut machine = reader.read(key)?;
        if let Some(machine) = machine.as_mut().filter(|machine| machine.is_concerned_by(&self.ignored)) {
            machine.ignore(&self.ignored);
        }
        Ok(machine)
    }

    fn selects(&self, row: &ReportRow<'_>) -> bool {
        let states = &self.report.states;
        states.is_empty() || row.verdict.is_some_and(|verdict| states.contains(&verdict.state))
    }

    /// The metadata with what the state adds.
    fn metadata(&self, reader: &StateReader) -> ReportMetadata {
        let is_unknown = |tenant: &&&Tenant| !reader.tenants().any(|known| **known == *tenant.name);
        let unknown = self.tenants.iter().filter(is_unknown);
        let unknown = unknown.map(|tenant| {
            format!(
                "The state has no data of tenant {}: it has no rows. Is it the folder of its exporter?",
                tenant.name
            )
        });
        let mut metadata = self.metadata.clone();
        metadata.warnings.extend(unknown);
        if self.skipped_rows > 0 {
            metadata.warnings.push(format!(
                "{} rows of the state file are invalid and left out: a machine that lost data cannot be judged.",
                self.skipped_rows
            ));
        }
        metadata.state_saved_at = reader.saved_at();
        metadata
    }

    /// Makes the report visible, and logs what limits it.
    fn publish(&self, written: WrittenReport) -> Result<(), JobError> {
        let WrittenReport { output, draft, metadata, .. } = written;
        for warning in &metadata.warnings {
            tracing::warn!("{warning}");
        }
        let has_metadata = self.report.format != ReportFormat::Csv;
        Ok(output.publish(draft, (!has_metadata).then_some(&metadata))?)
    }
}

/// Refuses an output that would replace the state or the configuration.
fn refuse_own_files(output: Option<&Path>, flags: &Flags) -> Result<(), AppError> {
    let Some(output) = output else { return Ok(()) };
    let real = |path: &Path| fs::canonicalize(path).ok();
    let is_config = || real(output).is_some_and(|output| real(flags.config_file()) == Some(output));
    if is_state_file(flags.storage_path(), output) || is_config() {
        let path = output.display();
        return Err(AppError::Configuration(format!(
            "--output `{path}` would replace a file of the exporter"
        )));
    }
    Ok(())
}

/// The selected tenants of the shard, sorted by name.
fn tenants<'a>(config: &'a Config, shard: Shard, names: &[String]) -> Result<Vec<&'a Tenant>, AppError> {
    let known = |name: &String| config.tenants.iter().any(|tenant| *tenant.name == **name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let tenants = config.tenants.iter().map(|tenant| &*tenant.name);
        let place = if shard.is_only() {
            "the configuration".to_owned()
        } else {
            format!("shard {shard} of the configuration")
        };
        return Err(AppError::Configuration(unknown(&place, "tenant", name, tenants)));
    }
    let is_selected = |tenant: &&Tenant| names.is_empty() || names.iter().any(|name| **name == *tenant.name);
    let mut tenants: Vec<_> = config.tenants.iter().filter(is_selected).collect();
    tenants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tenants)
}

/// The policy with this name, or the first one; none if the configuration has none.
fn policy<'a>(config: &'a Config, name: Option<&str>) -> Result<Option<&'a Policy>, AppError> {
    let Some(name) = name else { return Ok(config.policies.first()) };
    let policy = config.policies.iter().find(|policy| *policy.name == *name);
    let policies = || config.policies.iter().map(|policy| &*policy.name);
    policy
        .map(Some)
        .ok_or_else(|| AppError::Configuration(unknown("the configuration", "policy", name, policies())))
}

fn unknown<'a>(place: &str, thing: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("{place} has no {thing} `{name}`; it has {known}")
}

/// The facts in use, and their dates. Without a file that can be used there are none, as in the daemon, and a warning.
fn facts(config: &Config, flags: &Flags) -> (Arc<Facts>, Option<FactsDates>, Option<String>) {
    let Some(facts) = &config.facts else { return Default::default() };
    let settings = FactsSettings::new(facts, flags.storage_path(), ProxyMode::Configured);
    match disk::load(settings.file()) {
        Ok(file) => {
            let made_at = file.made_at;
            let facts = settings.facts_in(file);
            let dates = FactsDates::new(made_at, &facts);
            (facts, Some(dates), None)
        }
        Err(error) => {
            (Arc::default(), None, Some(format!("The report is made without facts: {}.", Chain(&error))))
        }
    }
}

/// The sources of facts that `policy` needs and that were never loaded.
fn lacking_facts(policy: &Policy, tenants: &[&Tenant], facts: &Facts) -> Option<String> {
    let lacking = lacking_for_policy(policy, tenants.iter().map(|tenant| tenant.source), facts);
    let sources: Vec<_> = lacking.iter().map(|source| source.as_str()).collect();
    (!sources.is_empty()).then(|| {
        format!(
            "Policy {} needs facts that are not there ({}): machines with missing updates are unknown under it.",
            policy.name,
            sources.join(", ")
        )
    })
}

/// Sentences about the exceptions in effect that lack facts in every tenant of the report that they name.
fn exceptions_without_facts(
    exceptions: &[Exception],
    tenants: &[&Tenant],
    facts: &Facts,
    now: Timestamp,
) -> Vec<String> {
    let sentence = |exception: &Exception| {
        let tenants = tenants.iter().map(|tenant| (&*tenant.name, tenant.source));
        let sources = lacking_for_exception(exception, tenants, facts);
        if sources.is_empty() {
            return None;
        }
        let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
        let (name, sources) = (&exception.name, sources.join(", "));
        Some(format!("Exception {name} needs facts that are not there ({sources}): it covers nothing."))
    };
    exceptions.iter().filter(|exception| exception.is_in_effect(now)).filter_map(sentence).collect()
}

impl From<ReadError> for JobError {
    fn from(error: ReadError) -> Self {
        Self::State(error)
    }
}

impl From<io::Error> for JobError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<JobError> for AppError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::State(error) => Self::Report(Chain(&error).to_string()),
            JobError::Output(source) => Self::System { operation: "write the report", source },
        }
    }
}
