//! Reads a file into a [`Config`], or returns all its problems.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::document::{self, Node, SyntaxError};
use super::inputs;
use super::problem::{LoadError, NamedEnd, NamedInput, Problem, ProblemCollector, SourceLocation};
use super::reader::ValueReader;
use super::tenant::{self, TenantNames};
use super::{Config, Metrics, Poll, Tenant, exception, facts, metrics, policy, servicing, shares_quota};
use crate::model::{Freshness, Policy, ServicingSettings};

/// Size limit of the file, many times the size of ten thousand machine ids.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

const HOUR: Duration = Duration::from_hours(1);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// A valid configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Warnings that do not depend on the time, in the order of lines.
    pub warnings: Vec<Problem>,
    /// The file itself, for messages.
    file: PathBuf,
    /// The files and variables that it names.
    inputs: Vec<NamedInput>,
    /// The ends of its exceptions.
    ends: Vec<NamedEnd>,
}

impl LoadedConfig {
    /// Returns the warnings, and one for every exception that has ended at `now`, in the order of lines.
    #[must_use]
    pub fn warnings_at(&self, now: Timestamp) -> Vec<Problem> {
        let warnings = ProblemCollector::new(&self.file);
        warnings.extend_warnings(&self.warnings);
        exception::warn_of_ended(&self.ends, now, &warnings);
        warnings.into_warnings()
    }

    /// Returns a warning for every file and every variable that the configuration names and that this process
    /// cannot read. `storage` is the folder of the state file. Blocks.
    #[must_use]
    pub fn unreadable_inputs(&self, storage: &Path) -> Vec<Problem> {
        inputs::unreadable(&self.file, &self.inputs, storage)
    }
}

/// Reads the configuration in `file`. Relative paths in it are relative to its folder.
///
/// Works offline: resolves no host name, opens no other file, reads no secret.
///
/// # Errors
///
/// Returns every problem of the file. A syntax error or an unreadable file is one problem.
pub fn load(file: &Path) -> Result<LoadedConfig, LoadError> {
    let problems = ProblemCollector::new(file);
    let config = read(file, &problems).and_then(|bytes| config(file, &bytes, &problems));
    loaded(file, config, problems)
}

/// Reads `bytes` as the content of `file`, like [`load`].
///
/// # Errors
///
/// See [`load`].
pub fn parse(file: &Path, bytes: &[u8]) -> Result<LoadedConfig, LoadError> {
    let problems = ProblemCollector::new(file);
    let config = config(file, bytes, &problems);
    loaded(file, config, problems)
}

fn loaded(
    file: &Path,
    config: Option<Config>,
    problems: ProblemCollector,
) -> Result<LoadedConfig, LoadError> {
    let (inputs, ends) = (problems.take_inputs(), problems.take_ends());
    let (config, warnings) = problems.conclude(config)?;
    Ok(LoadedConfig { config, warnings, file: file.to_path_buf(), inputs, ends })
}

/// Returns the content of `file`.
pub(super) fn read(file: &Path, problems: &ProblemCollector) -> Option<Vec<u8>> {
    let read = read_at_most(file, FILE_LIMIT);
    let problem = |error: io::Error| {
        let what = format!("cannot be read: {error}");
        problems.add_problem("", None, what, "a readable file of at most 4 MiB is allowed");
    };
    read.map_err(problem).ok()
}

/// Returns the content of `file`, or an error if it is longer than `limit` bytes.
pub(super) fn read_at_most(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
    }
    Ok(bytes)
}

/// Parses `bytes` as one YAML document.
pub(super) fn root(bytes: &[u8], problems: &ProblemCollector) -> Option<Node> {
    let parsed = document::parse(text(bytes, problems)?);
    let problem = |error: SyntaxError| {
        let what = format!("is not YAML: {}", error.what);
        problems.add_problem("", Some(error.location), what, "one YAML document is allowed");
    };
    parsed.map_err(problem).ok()
}

fn text<'a>(bytes: &'a [u8], problems: &ProblemCollector) -> Option<&'a str> {
    match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let last_line = good.rsplit('\n').next().unwrap_or_default();
            let location = SourceLocation {
                line: good.matches('\n').count() as u64 + 1,
                column: last_line.chars().count() as u64 + 1,
            };
            problems.add_problem("", Some(location), "is not UTF-8", "YAML text in UTF-8 is allowed");
            None
        }
    }
}

fn config(file: &Path, bytes: &[u8], problems: &ProblemCollector) -> Option<Config> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let root = root(bytes, problems)?;
    let section =
        ValueReader::root(&root, "a mapping with the key tenants is allowed", problems).section()?;
    let (tenants, names) = section
        .required("tenants", "a list of at least one tenant is allowed")
        .map_or((None, None), |field| tenants(&field, folder));
    let poll = section.optional_or("poll", "a mapping is allowed", Poll::default(), poll);
    let metrics = section.optional_or("metrics", "a mapping is allowed", Metrics::default(), metrics::read);
    let facts =
        section.optional_or("facts", "off or a mapping is allowed", None, |field| facts::read(field, folder));
    let field = section.optional("policies", "a list of policies is allowed");
    let policies = field.as_ref().map_or_else(|| Some(vec![Policy::default()]), policy::read);
    if let (Some(field), Some(policies), Some(facts), Some(tenants)) = (&field, &policies, &facts, &tenants) {
        policy::warn_of_unused_facts(field, policies, facts.as_ref(), tenants);
    }
    let field = section.optional("exceptions", "a list of exceptions is allowed");
    let exceptions =
        field.as_ref().map_or_else(|| Some(Vec::new()), |field| exception::read(field, names.as_ref()));
    let servicing = section.optional_or(
        "servicing",
        "a mapping with editions, extended is allowed",
        ServicingSettings::default(),
        |field| servicing::read(field, names.as_ref()),
    );
    section.finish();
    let config = Config {
        tenants: tenants?,
        poll: poll?,
        metrics: metrics?,
        facts: facts?,
        policies: policies?,
        exceptions: exceptions?,
        servicing: servicing?,
    };
    if let Some(field) = &field {
        exception::warn_of_other_settings(field, &config);
    }
    Some(config)
}

/// Reads the tenants, and their names even if other keys have problems; no names after a problem with one of them.
fn tenants(field: &ValueReader<'_>, folder: &Path) -> (Option<Vec<Tenant>>, Option<TenantNames>) {
    let Some(items) = field.list("a mapping with the keys of a tenant is allowed") else {
        return (None, None);
    };
    if items.is_empty() {
        field.problem("is empty");
        return (None, None);
    }
    let mut names = TenantNames::default();
    // Collected first, so that the problems of every tenant are reported.
    let tenants: Vec<_> = items.iter().map(|item| tenant::read(item, folder, &mut names)).collect();
    warn_of_shared_quotas(&items, &tenants);
    let names = (names.len() == items.len()).then_some(names);
    (tenants.into_iter().collect(), names)
}

/// Warns at each tenant that uses the application of an earlier one.
fn warn_of_shared_quotas(items: &[ValueReader<'_>], tenants: &[Option<Tenant>]) {
    for (index, (item, tenant)) in items.iter().zip(tenants).enumerate() {
        let Some(tenant) = tenant else { continue };
        let mut earlier = tenants[..index].iter().flatten();
        if let Some(first) = earlier.find(|earlier| shares_quota(earlier, tenant)) {
            let what = format!(
                "uses the application of tenant {}, so both share one quota: the smaller of the two",
                first.name
            );
            item.warning(what, "one entry for each tenant_id and client_id is advised");
        }
    }
}

fn poll(field: &ValueReader<'_>) -> Option<Poll> {
    let section = field.section()?;
    let default = Poll::default();
    let duration = |key, allowed, default, longest| {
        let range = Duration::from_secs(1)..=longest;
        section.optional_or(key, allowed, default, |field| field.duration(range))
    };
    let age = "a duration from 1s to 3650d, such as 13h, is allowed";
    let interval =
        duration("interval", "a duration from 1s to 365d, such as 6h, is allowed", default.interval, YEAR);
    let stale_after = duration("stale_after", age, default.freshness.stale_after, YEAR * 10);
    let expire_after = duration("expire_after", age, default.freshness.expire_after, YEAR * 10);
    let inactive_after = duration("inactive_after", age, default.freshness.inactive_after, YEAR * 10);

    if interval.is_some_and(|interval| interval < HOUR) {
        let what = "is less than an hour, but the source changes every few hours";
        section.warning("interval", what, "6h is the default");
    }
    if stale_after < interval && stale_after.is_some() {
        let what = "is shorter than interval, so machines turn stale between two polls";
        section.warning("stale_after", what, "more than two intervals is advised");
    }
    if expire_after < stale_after && expire_after.is_some() {
        let allowed = "stale_after or longer is allowed";
        section.problem_of("expire_after", "is shorter than stale_after", allowed);
    }
    section.finish();
    Some(Poll {
        interval: interval?,
        freshness: Freshness {
            stale_after: stale_after?,
            expire_after: expire_after?,
            inactive_after: inactive_after?,
        },
    })
}
