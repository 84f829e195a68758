//! Output of commands: text on stdout, and the problems of configuration files as an error.

use std::io::Write as _;

use crate::config::{LoadError, Problem};
use crate::error::{AppError, Chain};
use crate::web::WebConfigError;

/// Writes `text` to stdout and flushes it.
///
/// # Errors
/// Fails if stdout cannot be written to.
pub(super) fn print(text: &str) -> Result<(), AppError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| AppError::System { operation: "write to standard output", source })
}

/// Combines the results of loading the configuration and the web configuration.
///
/// # Errors
/// The problems of both files together, so that an operator can fix all of them at once.
pub(super) fn combine_results<T, W>(
    main: Result<T, LoadError>,
    web: Result<Option<W>, WebConfigError>,
) -> Result<(T, Option<W>), AppError> {
    match (main, web) {
        (Ok(main), Ok(web)) => Ok((main, web)),
        (Ok(_), Err(WebConfigError::File(web))) => Err(config_error(&[], web.problems())),
        (Ok(_), Err(error)) => Err(AppError::Configuration(Chain(&error).to_string())),
        (Err(main), Err(WebConfigError::File(web))) => Err(config_error(main.problems(), web.problems())),
        (Err(main), _) => Err(config_error(main.problems(), &[])),
    }
}

/// An error with one line per problem.
fn config_error(main: &[Problem], web: &[Problem]) -> AppError {
    let problems: Vec<_> = main.iter().chain(web).map(Problem::to_string).collect();
    AppError::Configuration(match (&problems[..], main) {
        ([problem], [only]) if only.location().is_none() => {
            let demo = if cfg!(feature = "demo") { "; `mde_exporter demo` needs none" } else { "" };
            format!("{problem}\n[--config.file names another file{demo}]")
        }
        ([problem], _) => problem.clone(),
        (problems, _) => format!("{} problems in the configuration\n{}", problems.len(), problems.join("\n")),
    })
}
