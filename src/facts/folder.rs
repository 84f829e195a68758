//! Facts out of files that were downloaded by other means.

use std::fs::File;
use std::io::{self, Read};
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
            _ if name.starts_with("epss_scores-") => return name.strip_suffix(".csv").map(|_| Self::Epss),
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
    from_folder_watched(dir, facts, now, |_, _| {})
}

/// Reads a folder like [`from_folder`], and calls `progress` with the number of files that are done and of all files.
/// Blocks.
///
/// # Errors
/// Returns an error if the folder itself cannot be read.
pub fn from_folder_watched(
    dir: &Path,
    facts: &mut FactsFile,
    now: Timestamp,
    progress: impl Fn(usize, usize),
) -> io::Result<Vec<FolderFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        files.extend(FolderEntry::of_name(&name).map(|entry| (entry, name)));
    }
    files.sort();
    let total = files.len();
    let read = files.into_iter().enumerate().map(|(done, (entry, name))| {
        progress(done, total);
        let problem = read_file(&entry, &dir.join(&name), facts, now).err();
        FolderFile { origin: entry.origin(), name, problem }
    });
    Ok(read.collect())
}

/// Reads files that are in memory, each with its name, like those of a folder.
pub fn from_memory<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    facts: &mut FactsFile,
    now: Timestamp,
) -> Vec<FolderFile> {
    let known =
        files.into_iter().filter_map(|(name, contents)| Some((FolderEntry::of_name(name)?, name, contents)));
    let mut files: Vec<_> = known.collect();
    files.sort();
    let read = files.into_iter().map(|(entry, name, contents)| {
        let problem = read_entry(&entry, contents, facts, now).err();
        FolderFile { origin: entry.origin(), name: name.to_owned(), problem }
    });
    read.collect()
}

fn read_file(
    entry: &FolderEntry,
    path: &Path,
    facts: &mut FactsFile,
    now: Timestamp,
) -> Result<(), FolderProblem> {
    read_entry(entry, File::open(path).map_err(ParseError::from)?, facts, now)
}

fn read_entry(
    entry: &FolderEntry,
    file: impl Read,
    facts: &mut FactsFile,
    now: Timestamp,
) -> Result<(), FolderProblem> {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::TempDir;

    use super::*;
    use crate::model::{CveId, FactsFailure};

    fn document(id: &str, revision: u32) -> String {
        format!(
            r#"{{"DocumentTracking": {{"Identification": {{"ID": {{"Value": "{id}"}}}},
                 "RevisionHistory": [{{"Number": "{revision}"}}]}},
               "Vulnerability": [{{"CVE": "CVE-2026-41108", "Remediations": [
                 {{"Type": 2, "Description": {{"Value": "5094123"}}}}]}}]}}"#
        )
    }

    const KEV: &str = r#"{"vulnerabilities": [{"cveID": "CVE-2026-41108"}]}"#;
    const SERVICING: &str = r#"{"result": {"name": "windows-server", "releases": [{"name": "2022"}]}}"#;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            let mut file = File::create(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "gz") {
                let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(text.as_bytes()).unwrap();
                encoder.finish().unwrap();
            } else {
                file.write_all(text.as_bytes()).unwrap();
            }
        }
        folder
    }

    fn now() -> Timestamp {
        "2026-11-30T00:00:00Z".parse().unwrap()
    }

    fn read(folder: &TempDir, facts: &mut FactsFile) -> Vec<(String, Option<FactsFailure>)> {
        let files = from_folder(folder.path(), facts, now()).unwrap();
        let kind = |problem: FolderProblem| match problem {
            FolderProblem::Unreadable(error) => error.kind(),
            FolderProblem::Refused(refusal) => refusal.kind(),
        };
        files.into_iter().map(|file| (file.name, file.problem.map(kind))).collect()
    }

    #[test]
    fn every_file_of_a_source_is_read() {
        let folder = folder(&[
            ("2026-Jun.json.gz", &document("2026-Jun", 1)),
            ("2018-Feb.json", &document("2018-FEB", 1)),
            ("2017-May-B.json", &document("2017-May-B", 1)),
            ("known_exploited_vulnerabilities.json.gz", KEV),
            (
                "epss_scores-current.csv.gz",
                "#score_date:2026-05-23\nCVE-2026-41108,0.75\nCVE-2026-41109,0.5\n",
            ),
            ("epss_scores-2026-05-22.csv", "#score_date:2026-05-22\nCVE-2026-41108,0.25\n"),
            ("windows-server.json", SERVICING),
            ("updates.json", "not read"),
            ("Oct-OOB.json", "not read"),
            ("2026-Jun.xml", "not read"),
            ("README.md", "not read"),
        ]);
        let mut facts = FactsFile::default();
        let read = read(&folder, &mut facts);
        assert_eq!(read.len(), 7);
        assert!(read.iter().all(|(_, problem)| problem.is_none()), "{read:?}");
        let ids: Vec<_> = facts.documents.keys().map(DocumentId::as_str).collect();
        assert_eq!(ids, ["2017-May-B", "2018-FEB", "2026-Jun"]);
        assert!(facts.kev.is_some());
        let epss = facts.epss.unwrap().data;
        assert_eq!(
            epss.scores,
            [(CveId::parse("CVE-2026-41108").unwrap(), 0.75)].into(),
            "the newest scores"
        );
        assert_eq!(facts.servicing.keys().collect::<Vec<_>>(), [&ServicedProduct::WindowsServer]);
    }

    #[test]
    fn bad_file_is_named_and_the_others_are_read() {
        let mut facts = FactsFile::default();
        read(
            &folder(&[("windows-server.json", SERVICING), ("2026-Jun.json", &document("2026-Jun", 7))]),
            &mut facts,
        );
        let folder = folder(&[
            ("2026-Apr.json", &document("2026-May", 1)),
            ("2026-May.json", "{"),
            ("2026-Jun.json", &document("2026-Jun", 6)),
            ("2026-Jul.json", &document("2026-Jul", 1)),
            ("known_exploited_vulnerabilities.json", "<html>"),
        ]);
        let decode = Some(FactsFailure::Decode);
        let expected = [
            ("2026-Apr.json", decode),
            ("2026-Jul.json", None),
            ("2026-Jun.json", Some(FactsFailure::Older)),
            ("2026-May.json", decode),
            ("known_exploited_vulnerabilities.json", decode),
        ];
        assert_eq!(read(&folder, &mut facts), expected.map(|(name, kind)| (name.to_owned(), kind)));
        let ids: Vec<_> = facts.documents.keys().map(DocumentId::as_str).collect();
        assert_eq!(ids, ["2026-Jul", "2026-Jun"]);
        assert!(facts.kev.is_none() && facts.epss.is_none(), "what is not there stays as it was");
        assert!(facts.servicing.contains_key(&ServicedProduct::WindowsServer));
    }

    #[test]
    fn files_in_memory_are_read_like_those_of_a_folder() {
        let june = document("2026-Jun", 1);
        let files = [("windows-server.json", SERVICING), ("2026-Jun.json", &june), ("2026-May.json", "{")];
        let mut of_folder = FactsFile::default();
        let expected = read(&folder(&files), &mut of_folder);
        let mut facts = FactsFile::default();
        let found = from_memory(files.map(|(name, text)| (name, text.as_bytes())), &mut facts, now());
        assert_eq!(facts, of_folder);
        let found: Vec<_> = found.into_iter().map(|file| (file.name, file.problem.is_some())).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(name, problem)| (name, problem.is_some())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn missing_folder_is_an_error() {
        let folder = folder(&[]).path().join("missing");
        assert!(from_folder(&folder, &mut FactsFile::default(), now()).is_err());
    }
}
