//! `report`: writes a report for auditors from the state on disk.
//!
//! The command sends no request, and changes nothing in the folder of the state, so that it can run while an exporter
//! runs there as another user. If the state file changed while it was read, the report is written again; nothing of it
//! is visible before.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::load::validate;
use crate::cli::{Flags, ReportFlags};
use crate::clock::Clock;
use crate::config::{Config, Tenant, exceptions_section, expand};
use crate::daemon::{ignored_updates, log_warnings};
use crate::error::{AppError, Chain};
use crate::facts::disk;
use crate::facts::{Facts, FactsSettings};
use crate::fleet::Machine;
use crate::fleet::summary::UpdateCollector;
use crate::http::ProxyMode;
use crate::model::{IgnoredUpdates, Policy, ReportFormat};
use crate::report::csv::CsvWriter;
use crate::report::html::HtmlWriter;
use crate::report::json::JsonWriter;
use crate::report::metadata::FactsDates;
use crate::report::output::ReportDraft;
use crate::report::summary::TenantCounts;
use crate::report::{
    ReportMetadata, ReportOutput, ReportRow, ReportSummary, ReportTerms, RowWriter, TenantRows,
};
use crate::store::{MachineKey, MachineReader, ReadError, StateReader};

/// The number of machines that are passed to the thread that writes rows at once, and how many times as many may wait.
const BATCH: usize = 64;
const READ_AHEAD: usize = 8;

/// Writes the report.
///
/// # Errors
/// Fails if the configuration or the selection is invalid, if there is no usable state, and if the output cannot be
/// written.
pub(super) fn report(report: &ReportFlags, flags: &Flags, clock: &Clock) -> Result<(), AppError> {
    let (loaded, _) = validate(flags.config_file(), None)?;
    log_warnings(&loaded.warnings);
    let config = &loaded.config;
    let tenants = tenants(config, &report.tenants)?;
    let policy = policy(config, report.policy.as_deref())?;
    let (facts, dates) = facts(config, flags);
    let now = clock.now();
    let metadata = ReportMetadata {
        time: now,
        version: env!("CARGO_PKG_VERSION"),
        state_saved_at: None,
        facts: dates,
        policy: policy.map(|policy| policy.name.to_string()),
        tenants: tenants.iter().map(|tenant| tenant.name.to_string()).collect(),
        states: report.states.clone(),
        warnings: policy.and_then(|policy| lacking_facts(policy, &tenants, &facts)).into_iter().collect(),
        policies: expand(&config.policies),
        exceptions: exceptions_section(&config.exceptions),
    };
    let (labels, exceptions) = (&config.metrics.labels, &config.exceptions);
    let terms = ReportTerms::new(now, config.poll.freshness, &facts, labels, exceptions, policy);
    let ignored = ignored_updates(config);
    let job = ReportJob { report, config, facts: &facts, tenants, ignored, terms, metadata };
    let mut reader = StateReader::open(flags.storage_path(), now).map_err(JobError::State)?;
    loop {
        match job.write(&reader) {
            Ok(_) | Err(JobError::State(_)) if !reader.is_consistent() => {
                // What was read is not the state at any time.
                reader = reader.open_again().map_err(JobError::State)?;
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
        metadata.state_saved_at = reader.saved_at();
        metadata
    }

    /// Makes the report visible, and logs what limits it.
    fn publish(&self, written: WrittenReport) -> Result<(), JobError> {
        let WrittenReport { output, draft, metadata, skipped_rows } = written;
        for warning in &metadata.warnings {
            tracing::warn!("{warning}");
        }
        if skipped_rows > 0 {
            tracing::warn!(rows = skipped_rows, "invalid rows of the state file are left out");
        }
        let has_metadata = self.report.format != ReportFormat::Csv;
        Ok(output.publish(draft, (!has_metadata).then_some(&metadata))?)
    }
}

/// The selected tenants, sorted by name.
fn tenants<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Tenant>, AppError> {
    let known = |name: &String| config.tenants.iter().any(|tenant| *tenant.name == **name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let tenants = config.tenants.iter().map(|tenant| &*tenant.name);
        return Err(AppError::Configuration(unknown("tenant", name, tenants)));
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
    policy.map(Some).ok_or_else(|| AppError::Configuration(unknown("policy", name, policies())))
}

fn unknown<'a>(thing: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("the configuration has no {thing} `{name}`; it has {known}")
}

/// The facts in use, and their dates. Without a file that can be used there are none, as in the daemon.
fn facts(config: &Config, flags: &Flags) -> (Arc<Facts>, Option<FactsDates>) {
    let Some(facts) = &config.facts else { return Default::default() };
    let settings = FactsSettings::new(facts, flags.storage_path(), ProxyMode::Configured);
    match disk::load(settings.file()) {
        Ok(file) => {
            let made_at = file.made_at;
            let facts = settings.facts_in(file);
            let dates = FactsDates::new(made_at, &facts);
            (facts, Some(dates))
        }
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "the report is made without facts");
            Default::default()
        }
    }
}

/// The sources of facts that `policy` needs and that were never loaded.
fn lacking_facts(policy: &Policy, tenants: &[&Tenant], facts: &Facts) -> Option<String> {
    let mut needed: Vec<_> = tenants.iter().flat_map(|tenant| policy.needed_facts(tenant.source)).collect();
    needed.retain(|source| !facts.has(*source));
    needed.sort();
    needed.dedup();
    let sources: Vec<_> = needed.iter().map(|source| source.as_str()).collect();
    (!sources.is_empty()).then(|| {
        format!(
            "Policy {} needs facts that are not there ({}): machines with missing updates are unknown under it.",
            policy.name,
            sources.join(", ")
        )
    })
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
