//! Rows become findings: one per machine and KB, whatever the number of rows.
//!
//! A million pairs have to fit beside the fleet, so a pair is 40 bytes: its CVEs are bits ([`CveSet`]),
//! its texts are those of the KB, once. Adding a row is a union, a minimum or a maximum. So the order
//! of rows and files does not matter, and a file that broke off is simply read again; what is counted
//! is counted when a file has arrived whole.
//!
//! Consecutive rows mostly belong to one machine, and often to one KB: both are kept at hand, so that
//! such a row looks up its CVE and nothing else.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;

use jiff::Timestamp;

use super::cves::{CveSet, packed};
use super::lines::{ExportFileError, Line, Lines};
use super::packed_timestamp::PackedTimestamp;
use super::row::{Field, Row};
use super::snapshot::{Export, Pair};
use crate::defender::model::Reject;
use crate::fleet::{KbId, MachineId, Severity, UpdateFacts};

/// What one export may take in memory: room for some ten million pairs.
const MEMORY_BYTES: usize = 1 << 30;

/// Distinct products of one KB; the first ones in text order are kept.
const PRODUCTS: usize = 100;

/// Characters of a title or of a product's name.
const TEXT_CHARS: usize = 1024;

/// What came in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileCount {
    /// Lines that are not blank.
    pub lines: u64,
    /// Rows of any machine that name it.
    pub rows: u64,
    /// Rows that name a machine in scope, a KB and a CVE.
    named: u64,
    /// By reason, in the order of [`Reject::ALL`].
    rejected: [u64; Reject::ALL.len()],
}

impl FileCount {
    /// How many lines were left out by reason, one of [`crate::self_metrics::REJECT_REASONS`].
    pub(super) fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reject::ALL.iter().map(|reason| reason.as_str()).zip(self.rejected)
    }

    fn reject(&mut self, reason: Reject) {
        self.rejected[reason as usize] += 1;
    }
}

/// Collects the findings of an export, file by file.
#[derive(Debug, Default)]
pub(super) struct ExportBuilder {
    /// Those in scope, and their places in `machines`.
    index: HashMap<MachineId, u32>,
    /// None for a machine without rows; else its pairs, ordered by the place of the KB.
    machines: Vec<Option<Vec<Pair>>>,
    kb_index: HashMap<KbId, u32>,
    kbs: Vec<Kb>,
    last_device: String,
    /// None when `last_device` is out of scope.
    last_machine: Option<usize>,
    last_kb: Option<(KbId, u32)>,
    /// Estimate of what is held, the machines of the scope apart.
    bytes: usize,
    /// Of the files that were read whole.
    rows: u64,
    named: u64,
}

/// What the rows say of one KB.
#[derive(Debug)]
struct Kb {
    id: KbId,
    title: String,
    /// Sorted.
    products: Vec<String>,
    /// Counted through as they come.
    cves: HashMap<u64, u32>,
}

impl ExportBuilder {
    /// Keeps the findings of the machines in `scope`.
    #[must_use]
    pub(super) fn new(scope: &HashSet<MachineId>) -> Self {
        let index: HashMap<_, _> = scope.iter().cloned().zip(0..).collect();
        let machines = std::iter::repeat_with(|| None).take(index.len()).collect();
        Self { index, machines, ..Self::default() }
    }

    /// Reads a file, as it was downloaded. Blocks while `file` does.
    ///
    /// # Errors
    /// When the file is not whole. It can be read again then, or all has to be dropped.
    pub(super) fn read(&mut self, file: impl BufRead) -> Result<FileCount, ExportFileError> {
        let mut lines = Lines::new(file)?;
        let mut count = FileCount::default();
        while let Some(line) = lines.next()? {
            let row = match line {
                Line::TooLong => Err(Reject::TooLong),
                Line::Text(line) if line.trim_ascii().is_empty() => continue,
                Line::Text(line) => Row::parse(line),
            };
            count.lines += 1;
            if let Err(reason) = row.and_then(|row| self.add(&row, &mut count)) {
                count.reject(reason);
            }
            if self.bytes > MEMORY_BYTES {
                return Err(ExportFileError::TooLarge { limit_bytes: MEMORY_BYTES });
            }
        }
        self.rows += count.rows;
        self.named += count.named;
        Ok(count)
    }

    /// Usable rows of the files that were read whole.
    #[must_use]
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// What has been read, as the snapshot of `generated_at`; and how many rows said again what another
    /// one had said: the same machine, KB and CVE.
    #[must_use]
    pub(super) fn finish(self, generated_at: Timestamp) -> (Export, u64) {
        let pairs = self.machines.iter().flatten().flatten();
        let distinct: u64 = pairs.map(|pair| u64::from(pair.cves.len())).sum();
        let facts = |kb: Kb| (kb.id, Arc::new(UpdateFacts { title: kb.title, products: kb.products }));
        let updates = self.kbs.into_iter().map(facts).collect();
        let export = Export::new(generated_at, self.rows, self.index, self.machines, updates);
        (export, self.named.saturating_sub(distinct))
    }

    fn add(&mut self, row: &Row<'_>, count: &mut FileCount) -> Result<(), Reject> {
        let machine = self.machine(&row.device)?;
        count.rows += 1;
        let kb = self.finding(row, machine, count);
        if let Some(machine) = machine {
            self.machines[machine].get_or_insert_default();
        }
        kb
    }

    fn finding(
        &mut self,
        row: &Row<'_>,
        machine: Option<usize>,
        count: &mut FileCount,
    ) -> Result<(), Reject> {
        let Some(kb) = row.update.kb()? else { return Ok(()) };
        if !row.vendor.text().eq_ignore_ascii_case("microsoft") {
            return Err(Reject::BadKb);
        }
        let Some(machine) = machine else { return Ok(()) };
        if row.status.text().eq_ignore_ascii_case("fixed") {
            return Ok(());
        }
        let place = self.kb(kb);
        let kb = &mut self.kbs[place as usize];
        self.bytes += kb.describe(row.title.text(), row.product.text());
        let pair = pair(self.machines[machine].get_or_insert_default(), place, &mut self.bytes);
        pair.severity = pair.severity.max(Severity::parse(row.severity.text()));
        if let Some(seen) = PackedTimestamp::parse(row.first_seen.text()) {
            pair.first_seen = Some(pair.first_seen.map_or(seen, |first| first.min(seen)));
        }
        let cve = row.cve.text();
        if !cve.is_empty() {
            let next = u32::try_from(kb.cves.len()).expect("Safe: the memory is bounded");
            let number = *kb.cves.entry(packed(cve)).or_insert(next);
            self.bytes += if number == next { 32 } else { 0 } + pair.cves.insert(number);
            count.named += 1;
        }
        Ok(())
    }

    /// The place of the machine that a row is about; none when it is out of scope.
    fn machine(&mut self, device: &Field<'_>) -> Result<Option<usize>, Reject> {
        let id = match device {
            Field::Text(_) => device.text(),
            Field::Absent => "",
            Field::Number(_) | Field::Other => return Err(Reject::WrongType),
        };
        if id.is_empty() {
            return Err(Reject::NoId);
        }
        if id == self.last_device {
            return Ok(self.last_machine);
        }
        let is_lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
        let key = if is_lower { Cow::Borrowed(id) } else { Cow::Owned(id.to_ascii_lowercase()) };
        let place = self.index.get(&*key).map(|place| *place as usize);
        if place.is_none() && MachineId::parse(id).is_none() {
            return Err(Reject::BadId);
        }
        id.clone_into(&mut self.last_device);
        self.last_machine = place;
        Ok(place)
    }

    /// The place of a KB.
    fn kb(&mut self, id: KbId) -> u32 {
        if let Some((last, place)) = self.last_kb
            && last == id
        {
            return place;
        }
        let next = u32::try_from(self.kbs.len()).expect("Safe: there are less than ten million KB ids");
        let place = *self.kb_index.entry(id).or_insert(next);
        if place == next {
            let (title, products, cves) = (String::new(), Vec::new(), HashMap::new());
            self.kbs.push(Kb { id, title, products, cves });
            self.bytes += size_of::<Kb>() + 32;
        }
        self.last_kb = Some((id, place));
        place
    }
}

impl Kb {
    /// Takes over what a row says. Returns the bytes that this took.
    fn describe(&mut self, title: &str, product: &str) -> usize {
        let (title, product) = (bounded(title), bounded(product));
        let mut bytes = 0;
        if title > self.title.as_str() {
            title.clone_into(&mut self.title);
            bytes += title.len();
        }
        let Err(place) = self.products.binary_search_by(|known| known.as_str().cmp(product)) else {
            return bytes;
        };
        if !product.is_empty() && place < PRODUCTS {
            bytes += product.len() + size_of::<String>();
            self.products.insert(place, product.to_owned());
            self.products.truncate(PRODUCTS);
        }
        bytes
    }
}

/// The pair of a machine with the KB at `kb`.
fn pair<'a>(pairs: &'a mut Vec<Pair>, kb: u32, bytes: &mut usize) -> &'a mut Pair {
    let place = pairs.binary_search_by_key(&kb, |pair| pair.kb).unwrap_or_else(|place| {
        // A vector may hold up to twice what it needs.
        *bytes += 2 * size_of::<Pair>();
        pairs.insert(place, Pair { kb, cves: CveSet::default(), first_seen: None, severity: None });
        place
    });
    &mut pairs[place]
}

fn bounded(text: &str) -> &str {
    let end = (text.len() > TEXT_CHARS).then(|| text.char_indices().nth(TEXT_CHARS)).flatten();
    end.map_or(text, |(end, _)| &text[..end])
}
