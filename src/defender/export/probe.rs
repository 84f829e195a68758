//! A probe of the export without reading it: the list exists and a file can be fetched.

use jiff::Timestamp;

use super::download::DownloadAttempt;
use super::list::Link;
use crate::defender::{ApiError, Client};

/// The newest export version according to its list.
#[derive(Debug)]
pub struct ListedExport {
    /// The time at which it was built; `None` if the list has no time.
    pub generated_at: Option<Timestamp>,
    /// The number of files, at least one.
    pub files: usize,
    first: Link,
}

impl ListedExport {
    /// The host of its files. The rest of a link is a secret.
    #[must_use]
    pub fn host(&self) -> &str {
        self.first.expose().host_str().unwrap_or_default()
    }
}

impl Client {
    /// Fetches the list of the newest export version.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call, `Empty` if it has no file, `UnusableLink` if a link must not be followed.
    pub async fn export_list(&self) -> Result<ListedExport, ApiError> {
        let list = self.file_list().await?;
        let (generated_at, files) = (list.generated_at, list.links.len());
        let first = list.links.into_iter().next().ok_or(ApiError::Empty)?;
        Ok(ListedExport { generated_at, files, first })
    }

    /// Requests the first file of an export without reading its body.
    ///
    /// # Errors
    /// Returns an error if the host does not answer, or not with the file.
    pub async fn reach_files(&self, export: &ListedExport) -> Result<(), ApiError> {
        let attempt = DownloadAttempt::start(1, 1);
        let response = self.open_file(&export.first, attempt).await?;
        self.download_ended(Some(response.status()), attempt);
        Ok(())
    }
}
