//! `facts update`: makes or updates the facts file, from the sources or from files that were downloaded before.
//!
//! The command serves cron jobs and networks without access to the internet. It needs no configuration file and no
//! tenant.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;

use super::load::validate;
use super::output::print;
use super::progress::TerminalLine;
use super::runtime::block_on;
use crate::cli::{FactsUpdateFlags, Flags};
use crate::clock::Clock;
use crate::config::FactsConfig;
use crate::daemon::log_warnings;
use crate::error::{AppError, Chain};
use crate::facts::disk::{self, FactsFileError};
use crate::facts::folder::{FolderFile, FolderProblem, from_folder_watched};
use crate::facts::update::{SourceUpdate, UpdateProgress, keep_months};
use crate::facts::{FactsFile, FactsSettings};
use crate::http::ProxyMode;
use crate::model::{FactsFailure, FactsOrigin, FactsSource, Months};

/// Updates the facts file and prints a summary.
///
/// # Errors
/// Fails if a source failed, or if the file cannot be written. What the other sources gave is written anyway.
pub(super) fn facts_update(update: &FactsUpdateFlags, flags: &Flags, clock: &Clock) -> Result<(), AppError> {
    let mut config = match &flags.config_file {
        Some(file) => {
            let (loaded, _) = validate(file, None)?;
            log_warnings(&loaded.warnings_at(clock.now()));
            loaded.config.facts.unwrap_or_default()
        }
        None => FactsConfig::default(),
    };
    if let Some(output) = &update.output {
        config.file = Some(output.clone());
    }
    let settings = FactsSettings::new(&config, flags.storage_path(), ProxyMode::Configured);
    let mut file = old_file(settings.file());
    let now = clock.now();
    let outcome = match &update.from {
        Some(folder) => read(folder, &settings, update.months, &mut file, now)?,
        None => fetch(&settings, update.months, &mut file, now)?,
    };
    if outcome.accepted > 0 {
        file.made_at = now;
        let saved = disk::save(settings.file(), &file);
        saved.map_err(|source| AppError::System { operation: "write the facts file", source })?;
    }
    print(&summary(settings.file(), &file, &outcome))?;
    let failed: Vec<_> = outcome.failed.iter().map(|origin| origin.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(AppError::FactsFailed(failed.join(", "))) }
}

/// What became of the parts of the sources.
#[derive(Default)]
struct Outcome {
    accepted: usize,
    failed: BTreeSet<FactsOrigin>,
}

/// The file to begin with. One that cannot be used is replaced.
fn old_file(path: &Path) -> FactsFile {
    match disk::load(path) {
        Ok(file) => file,
        Err(FactsFileError::Missing { .. }) => FactsFile::default(),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "old facts file cannot be used; making a new one");
            FactsFile::default()
        }
    }
}

/// Reads the files of a folder. All of them, unless `months` says otherwise.
fn read(
    folder: &Path,
    settings: &FactsSettings,
    months: Option<Months>,
    file: &mut FactsFile,
    now: Timestamp,
) -> Result<Outcome, AppError> {
    let old: BTreeSet<_> = file.documents.keys().cloned().collect();
    let progress = TerminalLine::new();
    let read = from_folder_watched(folder, file, now, |done, total| {
        progress.write(&format!("{done} of {total} files"));
    });
    progress.clear();
    let read = read.map_err(|source| AppError::System { operation: "read the folder of --from", source })?;
    if let Some(Months::Last(number)) = months {
        keep_months(file, &old, number, now);
    }
    // The documents of a folder count as a fetch of the source.
    if read.iter().any(|read| read.origin == FactsOrigin::Msrc && read.problem.is_none()) {
        file.index_fetched_at = Some(now);
    }
    if read.is_empty() {
        tracing::warn!(folder = %folder.display(), "the folder has no file of a source of facts");
    }
    let mut outcome = Outcome::default();
    let on: BTreeSet<_> = settings.sources().map(FactsOrigin::from).collect();
    for FolderFile { name, origin, problem } in read {
        match problem {
            None => outcome.accepted += 1,
            // The file can be read; the one with the higher revision counts.
            Some(FolderProblem::Refused(refusal)) if refusal.kind() == FactsFailure::Older => {
                tracing::warn!(file = name, source = %origin, "an older revision than the one in the facts file");
            }
            Some(problem) => {
                tracing::error!(file = name, source = %origin, error = %Chain(&problem), "file cannot be used");
                outcome.failed.extend(on.contains(&origin).then_some(origin));
            }
        }
    }
    Ok(outcome)
}

/// Fetches every source that is on.
fn fetch(
    settings: &FactsSettings,
    months: Option<Months>,
    file: &mut FactsFile,
    now: Timestamp,
) -> Result<Outcome, AppError> {
    let fetcher = settings.fetcher().map_err(|error| AppError::Configuration(Chain(&error).to_string()))?;
    let months = months.unwrap_or(Months::Last(settings.config().months));
    let update = SourceUpdate { fetcher, months, now };
    let sources: Vec<_> = settings.sources().collect();
    let progress = TerminalLine::new();
    let report = block_on(async { Ok(update.run(&sources, file, &progress).await) })?;
    progress.clear();
    for failure in &report.failures {
        let source = failure.source;
        let part = (!failure.part.is_empty()).then_some(&*failure.part);
        tracing::error!(%source, part, error = %Chain(&failure.error), "facts cannot be fetched; keeping the old data");
    }
    let failed = report.failed().map(FactsOrigin::from).collect();
    Ok(Outcome { accepted: report.accepted, failed })
}

impl UpdateProgress for TerminalLine {
    fn report(&self, source: FactsSource, done: usize, total: usize) {
        self.write(&format!("{source}: {done} of {total}"));
    }
}

fn summary(path: &Path, file: &FactsFile, outcome: &Outcome) -> String {
    let releases: usize = file.servicing.values().map(|servicing| servicing.data.releases.len()).sum();
    let kev = file.kev.as_ref().map_or(0, |kev| kev.data.entries.len());
    let epss = file.epss.as_ref().map_or(0, |epss| epss.data.rows);
    format!(
        "{}: {} KBs; msrc: {} documents, kev: {kev} entries, epss: {epss} scores, servicing: {releases} releases; \
         {} parts updated\n",
        path.display(),
        file.facts().len(),
        file.documents.len(),
        outcome.accepted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_has_a_count_for_each_source() {
        let text = summary(Path::new("f.json.gz"), &FactsFile::default(), &Outcome::default());
        assert!(text.starts_with("f.json.gz: 0 KBs; "), "{text}");
        assert!(FactsSource::ALL.iter().all(|source| text.contains(&format!("{source}: 0 "))), "{text}");
    }
}
