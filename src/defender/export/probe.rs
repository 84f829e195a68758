//! A look at the export without reading it: is there one, and can its files be had.

use jiff::Timestamp;
use tokio::time::Instant;

use super::list::Link;
use crate::defender::{ApiError, Client};

/// The newest export as its list shows it.
#[derive(Debug)]
pub struct ListedExport {
    /// When it was built; none when the list does not tell.
    pub generated_at: Option<Timestamp>,
    /// How many files it has, at least one.
    pub files: usize,
    first: Link,
}

impl ListedExport {
    /// Where its files are. The rest of a link is a secret.
    #[must_use]
    pub fn host(&self) -> &str {
        self.first.expose().host_str().unwrap_or_default()
    }
}

impl Client {
    /// The list of the newest export.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call, `Empty` when it has no file, `UnusableLink` when one cannot be followed.
    pub async fn export_list(&self) -> Result<ListedExport, ApiError> {
        let list = self.file_list().await?;
        let (generated_at, files) = (list.generated_at, list.links.len());
        let first = list.links.into_iter().next().ok_or(ApiError::Empty)?;
        Ok(ListedExport { generated_at, files, first })
    }

    /// Asks for the first file of an export, and reads nothing of it.
    ///
    /// # Errors
    /// When its host does not answer, or not with the file.
    pub async fn reach_files(&self, export: &ListedExport) -> Result<(), ApiError> {
        let started = Instant::now();
        let response = self.open_file(&export.first).await?;
        self.download_finished(Some(response.status()), started);
        Ok(())
    }
}
