//! The files and environment variables that a configuration names.
//!
//! Reading the configuration opens none of them: a secret may be there only when the exporter runs. This module
//! tries them for `check-config`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::problem::{InputPlace, NamedInput, Problem, ProblemCollector};
use crate::file_kind::unexpected_kind;

/// The number of bytes that are read of a file, more than a secret or a certificate has.
const READ_BYTES: u64 = 64 << 10;

/// What is wrong with an input, and who needs it; none if it can be read.
fn fault(place: &InputPlace, storage: &Path) -> Option<(String, &'static str)> {
    const ENVIRONMENT: &str = "the exporter needs it in its environment";
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    match place {
        InputPlace::File(path) => fault_of_file(path),
        InputPlace::StorageFile(name) => fault_of_file(&storage.join(name)),
        InputPlace::Variable(name) => match variable(name) {
            Some(_) => None,
            None => Some(("names a variable that is not set here, or empty".to_owned(), ENVIRONMENT)),
        },
        InputPlace::FileOfVariable(name) => match variable(name) {
            Some(path) => {
                let (fault, advice) = fault_of_file(Path::new(&path))?;
                Some((format!("takes the file of {name}, which {fault}"), advice))
            }
            None => Some((format!("takes the file of {name}, which is not set here, or empty"), ENVIRONMENT)),
        },
    }
}

/// Warns about every input of `file` that cannot be read by this process. `storage` is the folder of the state file.
pub(super) fn unreadable(file: &Path, inputs: &[NamedInput], storage: &Path) -> Vec<Problem> {
    let warnings = ProblemCollector::new(file);
    for input in inputs {
        if let Some((what, advice)) = fault(&input.place, storage) {
            warnings.add_warning(&input.key, input.location, what, advice);
        }
    }
    warnings.into_warnings()
}

fn fault_of_file(path: &Path) -> Option<(String, &'static str)> {
    const READER: &str = "the user of the exporter has to be able to read it";
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(READ_BYTES).read_to_end(&mut content));
    match read {
        Err(error) => Some((format!("cannot be read: {}", reason(&error)), READER)),
        Ok(_) if content.trim_ascii().is_empty() => {
            Some(("is empty".to_owned(), "the exporter needs its content"))
        }
        Ok(_) => {
            let (kind, advice) = unexpected_kind(&content)?.split_once("; ")?;
            Some((kind.to_owned(), advice))
        }
    }
}

/// The text of the error without the number of the operating system.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
