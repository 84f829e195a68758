//! The JSON of the facts file. Unknown members are skipped, so that a later version may add some.

mod document;
mod text;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize, Serializer};

use self::document::DocumentRecord;
use self::text::{Text, unwrap_keys};
use super::{FactsFile, Fetched};
use crate::facts::epss::Epss;
use crate::facts::kev::{Kev, KevEntry};
use crate::facts::servicing::{ServicedProduct, Servicing, ServicingEnd, ServicingRelease};
use crate::facts::{ParseError, input};
use crate::model::CveId;

/// The name of the format, at the start of each file.
const FORMAT: &str = "mde_exporter facts";

/// The version that is written, and the latest that can be read. It rises when an earlier exporter would
/// misunderstand a file.
const VERSION: u64 = 1;

/// The largest size of the JSON in bytes. Ten years of documents have 5 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// The part of a file that every version has.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    format: String,
    #[serde(default)]
    version: u64,
}

#[derive(Serialize)]
struct WrittenFile<'a> {
    format: &'static str,
    version: u64,
    made_at: Text<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_fetched_at: Option<Text<Timestamp>>,
    documents: WrittenDocuments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kev: Option<KevRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epss: Option<EpssRecord>,
    servicing: Vec<ServicingRecord>,
}

/// The documents of a file, converted one at a time.
struct WrittenDocuments<'a>(&'a FactsFile);

impl Serialize for WrittenDocuments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.documents.values().map(DocumentRecord::from))
    }
}

#[derive(Deserialize)]
struct ReadFile {
    made_at: Text<Timestamp>,
    #[serde(default)]
    index_fetched_at: Option<Text<Timestamp>>,
    #[serde(default)]
    documents: Vec<DocumentRecord>,
    #[serde(default)]
    kev: Option<KevRecord>,
    #[serde(default)]
    epss: Option<EpssRecord>,
    #[serde(default)]
    servicing: Vec<ServicingRecord>,
}

#[derive(Serialize, Deserialize)]
struct KevRecord {
    fetched_at: Text<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<Text<Timestamp>>,
    entries: BTreeMap<Text<CveId>, KevEntryRecord>,
}

#[derive(Serialize, Deserialize)]
struct KevEntryRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<Text<Date>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<Text<Date>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ransomware: bool,
}

#[derive(Serialize, Deserialize)]
struct EpssRecord {
    fetched_at: Text<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score_date: Option<Text<Date>>,
    rows: u64,
    scores: BTreeMap<Text<CveId>, f64>,
}

#[derive(Serialize, Deserialize)]
struct ServicingRecord {
    product: String,
    fetched_at: Text<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Text<Timestamp>>,
    releases: Vec<ReleaseRecord>,
}

#[derive(Serialize, Deserialize)]
struct ReleaseRecord {
    name: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    build: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lts: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<EndRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_end: Option<EndRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum EndRecord {
    Passed(bool),
    On(Text<Date>),
}

/// Reads a facts file.
pub(super) fn read(input: impl Read) -> Result<FactsFile, ParseError> {
    let mut json = Vec::new();
    input::content(input, MAX_BYTES)?.read_to_end(&mut json)?;
    let header: Header = serde_json::from_slice(&json)?;
    if header.format != FORMAT || header.version == 0 {
        return Err(ParseError::Shape("is no facts file"));
    }
    if header.version > VERSION {
        return Err(ParseError::NewerVersion { found: header.version, known: VERSION });
    }
    serde_json::from_slice::<ReadFile>(&json).map(ReadFile::facts_file).map_err(ParseError::from)
}

/// Writes a facts file.
pub(super) fn write(file: &FactsFile, output: impl Write) -> io::Result<()> {
    let written = WrittenFile {
        format: FORMAT,
        version: VERSION,
        made_at: Text(file.made_at),
        index_fetched_at: file.index_fetched_at.map(Text),
        documents: WrittenDocuments(file),
        kev: file.kev.as_ref().map(KevRecord::from),
        epss: file.epss.as_ref().map(EpssRecord::from),
        servicing: file.servicing.iter().map(ServicingRecord::from).collect(),
    };
    let mut json = BufWriter::with_capacity(1 << 16, GzEncoder::new(output, Compression::default()));
    serde_json::to_writer(&mut json, &written)?;
    json.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.flush()
}

impl ReadFile {
    fn facts_file(self) -> FactsFile {
        let documents = self.documents.into_iter().map(DocumentRecord::document);
        let servicing = self.servicing.into_iter().filter_map(ServicingRecord::servicing);
        FactsFile {
            made_at: self.made_at.0,
            index_fetched_at: self.index_fetched_at.map(|Text(time)| time),
            documents: documents.map(|document| (document.data.id.clone(), document)).collect(),
            kev: self.kev.map(KevRecord::kev),
            epss: self.epss.map(EpssRecord::epss),
            servicing: servicing.collect(),
        }
    }
}

impl From<&Fetched<Kev>> for KevRecord {
    fn from(kev: &Fetched<Kev>) -> Self {
        let record = |entry: &KevEntry| KevEntryRecord {
            added: entry.added.map(Text),
            due: entry.due.map(Text),
            ransomware: entry.ransomware,
        };
        Self {
            fetched_at: Text(kev.at),
            released: kev.data.released.map(Text),
            entries: kev.data.entries.iter().map(|(cve, entry)| (Text(*cve), record(entry))).collect(),
        }
    }
}

impl KevRecord {
    fn kev(self) -> Fetched<Kev> {
        let entry = |record: KevEntryRecord| KevEntry {
            added: record.added.map(|Text(day)| day),
            due: record.due.map(|Text(day)| day),
            ransomware: record.ransomware,
        };
        let entries = self.entries.into_iter().map(|(Text(cve), record)| (cve, entry(record))).collect();
        let released = self.released.map(|Text(time)| time);
        Fetched { at: self.fetched_at.0, data: Kev { released, entries } }
    }
}

impl From<&Fetched<Epss>> for EpssRecord {
    fn from(epss: &Fetched<Epss>) -> Self {
        Self {
            fetched_at: Text(epss.at),
            score_date: epss.data.score_date.map(Text),
            rows: epss.data.rows,
            scores: epss.data.scores.iter().map(|(cve, score)| (Text(*cve), *score)).collect(),
        }
    }
}

impl EpssRecord {
    fn epss(self) -> Fetched<Epss> {
        let mut scores = unwrap_keys(self.scores);
        scores.retain(|_, score| (0.0..=1.0).contains(score));
        let score_date = self.score_date.map(|Text(day)| day);
        Fetched { at: self.fetched_at.0, data: Epss { score_date, rows: self.rows, scores } }
    }
}

impl From<(&ServicedProduct, &Fetched<Servicing>)> for ServicingRecord {
    fn from((product, servicing): (&ServicedProduct, &Fetched<Servicing>)) -> Self {
        let end = |end| match end {
            ServicingEnd::On(day) => EndRecord::On(Text(day)),
            ServicingEnd::Passed(passed) => EndRecord::Passed(passed),
        };
        let record = |release: &ServicingRelease| ReleaseRecord {
            name: release.name.clone(),
            build: release.build,
            lts: release.is_lts,
            end: release.end.map(end),
            extended_end: release.extended_end.map(end),
        };
        Self {
            product: product.as_str().to_owned(),
            fetched_at: Text(servicing.at),
            modified: servicing.data.modified.map(Text),
            releases: servicing.data.releases.iter().map(record).collect(),
        }
    }
}

impl ServicingRecord {
    /// The releases of a product; none for a product of a later version.
    fn servicing(self) -> Option<(ServicedProduct, Fetched<Servicing>)> {
        let product = ServicedProduct::ALL.into_iter().find(|product| product.as_str() == self.product)?;
        let end = |record| match record {
            EndRecord::On(Text(day)) => ServicingEnd::On(day),
            EndRecord::Passed(passed) => ServicingEnd::Passed(passed),
        };
        let release = |record: ReleaseRecord| ServicingRelease {
            name: record.name,
            build: record.build,
            is_lts: record.lts,
            end: record.end.map(end),
            extended_end: record.extended_end.map(end),
        };
        let releases = self.releases.into_iter().map(release).collect();
        let data = Servicing { modified: self.modified.map(|Text(time)| time), releases };
        Some((product, Fetched { at: self.fetched_at.0, data }))
    }
}
