//! What is wrong with a configuration file, and where.
//!
//! Problems name keys and say what is allowed; they never repeat a value, since a secret may have
//! been written where it does not belong. Readers put what they find into one [`ProblemCollector`] and go on,
//! so that one pass shows all of it.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in the file. Both numbers start at 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// One thing that is wrong, or that deserves a warning.
///
/// Prints as `file: key.path (line L, column C): what is wrong; what is allowed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: Arc<str>,
    key: String,
    place: Option<SourceLocation>,
    what: String,
    allowed: String,
}

impl Problem {
    /// Path of the key, as `tenants[0].auth`; empty when the whole file is meant.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it is; none when the file could not be read at all.
    #[must_use]
    pub fn place(&self) -> Option<SourceLocation> {
        self.place
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        f.write_str(&self.key)?;
        if let Some(SourceLocation { line, column }) = self.place {
            let gap = if self.key.is_empty() { "" } else { " " };
            write!(f, "{gap}(line {line}, column {column}): ")?;
        }
        write!(f, "{}; {}", self.what, self.allowed)
    }
}

/// Every problem of a file that cannot be used, in the order of its lines; never empty.
///
/// Prints one problem a line.
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

/// Collects what is found while a file is read.
pub(super) struct ProblemCollector {
    file: Arc<str>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl ProblemCollector {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string().into(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn problem(
        &self,
        key: &str,
        place: Option<SourceLocation>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let problem = self.entry(key, place, what.into(), allowed.into());
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warning(
        &self,
        key: &str,
        place: SourceLocation,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let warning = self.entry(key, Some(place), what.into(), allowed.into());
        self.warnings.borrow_mut().push(warning);
    }

    /// `value` with the warnings if nothing was wrong, else the problems.
    ///
    /// # Panics
    ///
    /// When `value` is missing though no problem was reported: a fault of the reader.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), LoadError> {
        let by_line = |mut found: Vec<Problem>| {
            found.sort_by_key(|problem| problem.place);
            found
        };
        let problems = by_line(self.problems.into_inner());
        if !problems.is_empty() {
            return Err(LoadError { problems });
        }
        let value = value.expect("Safe: a reader that gives no value has reported why");
        Ok((value, by_line(self.warnings.into_inner())))
    }

    fn entry(&self, key: &str, place: Option<SourceLocation>, what: String, allowed: String) -> Problem {
        Problem { file: Arc::clone(&self.file), key: key.to_owned(), place, what, allowed }
    }
}
