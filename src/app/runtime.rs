//! The asynchronous runtime of the commands that need one.

use crate::error::AppError;

/// Runs `work` to its end on a new runtime.
///
/// # Errors
/// Fails if the runtime cannot be started, or with the error of `work`.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AppError::System { operation: "start the runtime", source })?;
    let result = runtime.block_on(work);
    // A hanging blocking call must not delay the exit; a name lookup can hang for half a minute.
    runtime.shutdown_background();
    result
}
