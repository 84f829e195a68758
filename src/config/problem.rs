//! Problems of a configuration file and their locations.
//!
//! A problem names a key and the allowed values. It never repeats a value, since a secret may have been
//! written into the wrong key. Readers add problems to one [`ProblemCollector`] and continue, so one pass
//! reports all of them.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

/// A location in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// A problem or a warning.
///
/// Displayed as `file: key.path (line L, column C): problem; allowed values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: Arc<str>,
    key: String,
    location: Option<SourceLocation>,
    what: String,
    allowed: String,
}

impl Problem {
    /// Path of the key, such as `tenants[0].auth`; empty for a problem of the whole file.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The location; none if the file could not be read.
    #[must_use]
    pub fn location(&self) -> Option<SourceLocation> {
        self.location
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        f.write_str(&self.key)?;
        if let Some(SourceLocation { line, column }) = self.location {
            let space = if self.key.is_empty() { "" } else { " " };
            write!(f, "{space}(line {line}, column {column}): ")?;
        }
        write!(f, "{}; {}", self.what, self.allowed)
    }
}

/// Every problem of an invalid file, in the order of lines; never empty.
///
/// Displayed as one problem per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    problems: Vec<Problem>,
}

impl LoadError {
    /// The problems, in the order of their lines.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// A file or a variable that the configuration names, and the key that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedInput {
    pub(super) key: String,
    pub(super) location: SourceLocation,
    pub(super) place: InputPlace,
}

/// The end of an exception, and the key that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedEnd {
    pub(super) key: String,
    pub(super) location: SourceLocation,
    pub(super) ends_at: Timestamp,
}

/// The place of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputPlace {
    File(PathBuf),
    Variable(String),
    /// The file that a variable names.
    FileOfVariable(&'static str),
    /// A file of this name in the folder of the state file.
    StorageFile(&'static str),
}

/// Collects problems and warnings while a file is read.
pub(super) struct ProblemCollector {
    file: Arc<str>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    inputs: RefCell<Vec<NamedInput>>,
    ends: RefCell<Vec<NamedEnd>>,
}

impl ProblemCollector {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string().into(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            inputs: RefCell::default(),
            ends: RefCell::default(),
        }
    }

    /// Notes a file or a variable that the file names.
    pub(super) fn add_input(&self, input: NamedInput) {
        self.inputs.borrow_mut().push(input);
    }

    /// Returns the noted files and variables, in the order of reading.
    pub(super) fn take_inputs(&self) -> Vec<NamedInput> {
        self.inputs.take()
    }

    /// Notes an end.
    pub(super) fn add_end(&self, end: NamedEnd) {
        self.ends.borrow_mut().push(end);
    }

    /// Returns the noted ends, in the order of reading.
    pub(super) fn take_ends(&self) -> Vec<NamedEnd> {
        self.ends.take()
    }

    /// Adds `warnings` of an earlier reading.
    pub(super) fn extend_warnings(&self, warnings: &[Problem]) {
        self.warnings.borrow_mut().extend_from_slice(warnings);
    }

    /// Returns the warnings, in the order of lines.
    pub(super) fn into_warnings(self) -> Vec<Problem> {
        by_line(self.warnings.into_inner())
    }

    pub(super) fn add_problem(
        &self,
        key: &str,
        location: Option<SourceLocation>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let problem = self.entry(key, location, what.into(), allowed.into());
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn add_warning(
        &self,
        key: &str,
        location: SourceLocation,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let warning = self.entry(key, Some(location), what.into(), allowed.into());
        self.warnings.borrow_mut().push(warning);
    }

    /// Returns `value` and the warnings, or the problems if there are any.
    ///
    /// # Panics
    ///
    /// If `value` is missing although no problem was reported: a bug of the reader.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), LoadError> {
        let problems = by_line(self.problems.take());
        if !problems.is_empty() {
            return Err(LoadError { problems });
        }
        let value = value.expect("Safe: a reader that returns no value has reported a problem");
        Ok((value, self.into_warnings()))
    }

    fn entry(&self, key: &str, location: Option<SourceLocation>, what: String, allowed: String) -> Problem {
        Problem { file: Arc::clone(&self.file), key: key.to_owned(), location, what, allowed }
    }
}

fn by_line(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.location);
    problems
}
