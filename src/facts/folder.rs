//! Facts out of files that were downloaded by other means.

use std::fs::File;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::file::FactsRefusal;
use super::msrc::DocumentId;
use super::servicing::ServicedProduct;
use super::{FactsFile, ParseError, epss, kev, msrc, servicing};
use crate::model::FactsOrigin;

/// The outcome of reading one file of a folder.
#[derive(Debug)]
pub struct FolderFile {
    /// The name of the file.
    pub name: String,
    /// The source of its data.
    pub origin: FactsOrigin,
    /// The reason why it was not used; none if it was.
    pub problem: Option<FolderProblem>,
}

/// The reason why a file of a folder was not used.
#[derive(Debug, thiserror::Error)]
pub enum FolderProblem {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ParseError),
    /// It does not replace what there is.
    #[error(transparent)]
    Refused(#[from] FactsRefusal),
}

/// The content of a file, as its name tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FolderEntry {
    /// A release document of the month, such as `2026-Jun`.
    Document(DocumentId),
    Kev,
    Servicing(ServicedProduct),
    /// The last one, because scores are kept for the CVEs of the documents.
    Epss,
}

impl FolderEntry {
    /// The content of a file with this name; none for any other file.
    fn of_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        match name {
            "known_exploited_vulnerabilities.json" => return Some(Self::Kev),
            "windows.json" => return Some(Self::Servicing(ServicedProduct::Windows)),
            "windows-server.json" => return Some(Self::Servicing(ServicedProduct::WindowsServer)),
            _ if name.starts_with("epss_scores-") && name.ends_with(".csv") => return Some(Self::Epss),
            _ => {}
        }
        let month = name.strip_suffix(".json")?.get(..8)?;
        DocumentId::parse(month).filter(|id| id.month().is_some()).map(Self::Document)
    }

    fn origin(&self) -> FactsOrigin {
        match self {
            Self::Document(_) => FactsOrigin::Msrc,
            Self::Kev => FactsOrigin::Kev,
            Self::Epss => FactsOrigin::Epss,
            Self::Servicing(_) => FactsOrigin::Servicing,
        }
    }
}

/// Reads the release documents, catalogues and scores in the folder `dir` into `facts`. What is not in the folder, and
/// what cannot be used, leaves that part of `facts` unchanged. Blocks.
///
/// # Errors
/// Returns an error if the folder itself cannot be read.
pub fn from_folder(dir: &Path, facts: &mut FactsFile, now: Timestamp) -> io::Result<Vec<FolderFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        files.extend(FolderEntry::of_name(&name).map(|entry| (entry, name)));
    }
    files.sort();
    let read = files.into_iter().map(|(entry, name)| {
        let problem = read_file(&entry, &dir.join(&name), facts, now).err();
        FolderFile { origin: entry.origin(), name, problem }
    });
    Ok(read.collect())
}

fn read_file(
    entry: &FolderEntry,
    path: &Path,
    facts: &mut FactsFile,
    now: Timestamp,
) -> Result<(), FolderProblem> {
    let file = File::open(path).map_err(ParseError::from)?;
    match entry {
        FolderEntry::Document(month) => {
            let document = msrc::read_any_document(file)?;
            if document.id.month() != month.month() {
                let [expected, found] = [month, &document.id].map(|id| id.as_str().into());
                return Err(ParseError::OtherDocument { expected, found }.into());
            }
            facts.put_document(document, now)?;
        }
        FolderEntry::Kev => facts.put_kev(kev::read(file)?, now)?,
        FolderEntry::Servicing(product) => {
            facts.put_servicing(*product, servicing::read(file, *product)?, now)?;
        }
        FolderEntry::Epss => {
            let wanted = facts.wanted_cves();
            let epss = epss::read(file, &|cve| wanted.contains(&cve))?;
            // Of several files, the newest scores count.
            let is_older =
                facts.epss.as_ref().is_some_and(|old| old.at == now && old.data.score_date > epss.score_date);
            if !is_older {
                facts.put_epss(epss, now)?;
            }
        }
    }
    Ok(())
}
