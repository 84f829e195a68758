//! Combines rows into missing updates: one per machine and KB, regardless of the number of rows.
//!
//! A million missing updates must fit beside the fleet, so each takes 40 bytes: its CVEs are bits
//! ([`CveSet`]), and its texts are stored once per KB. Adding a row is a union, a minimum or a maximum.
//! Therefore the order of rows and files does not matter, and a file that was interrupted is read again.
//! Counters are updated when a file is complete.
//!
//! Consecutive rows mostly belong to one machine and often to one KB. The last machine and KB are cached, so
//! that such a row looks up its CVE only.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;

use jiff::Timestamp;

use super::cves::{CveSet, packed};
use super::lines::{LineReader, RawLine};
use super::packed_timestamp::PackedTimestamp;
use super::row::{ExportRow, RowField, UnreadableRow};
use super::version::{Export, MachineRows, PackedUpdate, UnreadableLines};
use crate::defender::export_file_error::ExportFileError;
use crate::defender::json_repair::repair_strings;
use crate::fleet::UpdateFacts;
use crate::model::{FixedBuild, KbId, MachineId, RejectReason, Severity};
use crate::text::without_byte_order_mark;

/// The maximum memory of one export, enough for about ten million missing updates.
const MEMORY_BYTES: usize = 1 << 30;

/// The maximum number of products of one KB; the first ones in text order are kept.
const PRODUCTS: usize = 100;

/// The maximum length of a title or product name in characters.
const TEXT_CHARS: usize = 1024;

/// The start of the id of a line that cannot be read.
const UNREADABLE_LINE: &str = "(unreadable line";

/// The counts of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileCount {
    /// Lines that are not blank.
    pub lines: u64,
    /// Rows with a machine id.
    pub rows: u64,
    /// Rows with a machine in scope, a KB and a CVE.
    complete: u64,
    /// Rejected lines by reason, in the order of [`RejectReason::ALL`].
    rejected: [u64; RejectReason::ALL.len()],
    /// True if the machine of a line could not be read.
    has_unreadable_lines: bool,
}

impl FileCount {
    /// The number of rejected lines by reason.
    pub(super) fn rejected(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        RejectReason::ALL.into_iter().zip(self.rejected)
    }

    fn reject(&mut self, reason: RejectReason) {
        self.rejected[reason as usize] += 1;
    }
}

/// Collects the missing updates of an export, file by file.
#[derive(Debug, Default)]
pub(super) struct ExportBuilder {
    /// The machines in scope and their indices in `machines`.
    index: HashMap<MachineId, u32>,
    /// `None` for a machine without rows; else its missing updates, ordered by the index of the KB.
    machines: Vec<Option<Vec<PackedUpdate>>>,
    kb_index: HashMap<KbId, u32>,
    kbs: Vec<CollectedKb>,
    last_device: String,
    /// `None` if `last_device` is out of scope.
    last_machine: Option<usize>,
    last_kb: Option<(KbId, u32)>,
    /// The last text of a version, and the build that it names.
    last_version: (String, Option<FixedBuild>),
    /// The highest build that a row names, by the index of the machine.
    builds: HashMap<usize, FixedBuild>,
    /// The estimated memory, without the machines in scope.
    bytes: usize,
    /// Rows of the files that were read completely.
    rows: u64,
    complete: u64,
    /// The ids that are no KBs, by the index of the machine.
    unreadable: HashMap<usize, BTreeSet<Arc<str>>>,
    /// The same ids, to share their text.
    unreadable_texts: HashSet<Arc<str>>,
    /// True if the machine of a line could not be read.
    has_unreadable_lines: bool,
}

/// The data of one KB.
#[derive(Debug)]
struct CollectedKb {
    id: KbId,
    title: String,
    /// Sorted.
    products: Vec<String>,
    /// The number of each CVE, in the order of appearance.
    cves: HashMap<u64, u32>,
}

impl ExportBuilder {
    /// Creates a builder for the machines in `scope`.
    #[must_use]
    pub(super) fn new(scope: &HashSet<MachineId>) -> Self {
        let index: HashMap<_, _> = scope.iter().cloned().zip(0..).collect();
        let machines = std::iter::repeat_with(|| None).take(index.len()).collect();
        Self { index, machines, ..Self::default() }
    }

    /// Reads a downloaded file. Blocks while `file` blocks.
    ///
    /// # Errors
    /// Returns an error if the file is not complete. The caller must then read it again or drop the builder.
    pub(super) fn read(&mut self, file: impl BufRead) -> Result<FileCount, ExportFileError> {
        let mut lines = LineReader::new(file)?;
        let mut count = FileCount::default();
        while let Some(line) = lines.next()? {
            let added = match line {
                RawLine::TooLong => {
                    count.has_unreadable_lines = true;
                    Err(RejectReason::TooLong)
                }
                RawLine::Text(line) => match without_byte_order_mark(line) {
                    line if line.trim_ascii().is_empty() => continue,
                    line => self.add_line(line, &mut count),
                },
            };
            count.lines += 1;
            if let Err(reason) = added {
                count.reject(reason);
            }
            if self.bytes > MEMORY_BYTES {
                return Err(ExportFileError::TooLarge { limit_bytes: MEMORY_BYTES });
            }
        }
        self.rows += count.rows;
        self.complete += count.complete;
        self.has_unreadable_lines |= count.has_unreadable_lines;
        Ok(count)
    }

    /// The usable rows of the files that were read completely.
    #[must_use]
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the export version of `generated_at`, and the number of duplicate rows: those with the machine,
    /// KB and CVE of another row.
    #[must_use]
    pub(super) fn finish(self, generated_at: Timestamp) -> (Export, u64) {
        let stored = self.machines.iter().flatten().flatten();
        let distinct: u64 = stored.map(|packed| u64::from(packed.cves.len())).sum();
        let facts =
            |kb: CollectedKb| (kb.id, Arc::new(UpdateFacts { title: kb.title, products: kb.products }));
        let updates = self.kbs.into_iter().map(facts).collect();
        let unreadable = UnreadableLines {
            ids: self.unreadable.into_iter().map(|(place, ids)| (place, ids.into_iter().collect())).collect(),
            of_unknown_machines: self.has_unreadable_lines,
        };
        let known = MachineRows { index: self.index, machines: self.machines, builds: self.builds };
        let export = Export::new(generated_at, self.rows, known, updates, unreadable);
        (export, self.complete.saturating_sub(distinct))
    }

    fn add_line(&mut self, line: &[u8], count: &mut FileCount) -> Result<(), RejectReason> {
        match ExportRow::parse(line) {
            Ok(row) => self.add(&row, count),
            Err(UnreadableRow { reason, fields }) => {
                let mut repaired = line.to_vec();
                if repair_strings(&mut repaired)
                    && let Ok(row) = ExportRow::parse(&repaired)
                {
                    return self.add(&row, count);
                }
                if let Ok(machine) = self.machine_of(&fields, count)
                    && let Some(machine) = machine.filter(|_| !fields.is_of_another_vendor())
                {
                    let ids = self.unreadable.get(&machine).into_iter().flatten();
                    // Several such lines may stand for several updates, so their number counts.
                    let number = ids.filter(|id| id.starts_with(UNREADABLE_LINE)).count() + 1;
                    self.add_unreadable(machine, &format!("{UNREADABLE_LINE} {number})"));
                }
                Err(reason)
            }
        }
    }

    fn add(&mut self, row: &ExportRow<'_>, count: &mut FileCount) -> Result<(), RejectReason> {
        let machine = self.machine_of(row, count)?;
        count.rows += 1;
        let added = self.add_update(row, machine, count);
        if let Some(machine) = machine {
            self.machines[machine].get_or_insert_default();
            self.add_build(machine, row.os_version.text());
        }
        added
    }

    /// Adds the build that `version` names. A machine has one version in all its rows, so the text seldom changes.
    fn add_build(&mut self, machine: usize, version: &str) {
        if version != self.last_version.0 {
            version.clone_into(&mut self.last_version.0);
            self.last_version.1 = FixedBuild::of_windows(version);
        }
        let Some(build) = self.last_version.1 else { return };
        let known = self.builds.entry(machine).or_insert_with(|| {
            self.bytes += 2 * size_of::<(usize, FixedBuild)>();
            build
        });
        *known = build.max(*known);
    }

    /// The index of the machine of a row; `None` if it is out of scope. Notes a row without a readable machine,
    /// unless it cannot be about a KB.
    fn machine_of(
        &mut self,
        row: &ExportRow<'_>,
        count: &mut FileCount,
    ) -> Result<Option<usize>, RejectReason> {
        let machine = self.machine(&row.device);
        count.has_unreadable_lines |= machine.is_err() && !row.is_of_another_vendor();
        machine
    }

    /// Adds an id of a machine that is no KB.
    fn add_unreadable(&mut self, machine: usize, id: &str) {
        let id = bounded(id);
        let id = if let Some(known) = self.unreadable_texts.get(id) {
            Arc::clone(known)
        } else {
            let new: Arc<str> = id.into();
            self.bytes += new.len() + 64;
            self.unreadable_texts.insert(Arc::clone(&new));
            new
        };
        self.machines[machine].get_or_insert_default();
        if self.unreadable.entry(machine).or_default().insert(id) {
            self.bytes += 64;
        }
    }

    fn add_update(
        &mut self,
        row: &ExportRow<'_>,
        machine: Option<usize>,
        count: &mut FileCount,
    ) -> Result<(), RejectReason> {
        let is_fixed = row.status.text().eq_ignore_ascii_case("fixed");
        let kb = match row.update.kb() {
            Ok(Some(kb)) => kb,
            Ok(None) => return Ok(()),
            Err(id) => {
                if let Some(machine) = machine.filter(|_| row.is_of_microsoft() && !is_fixed) {
                    self.add_unreadable(machine, &id);
                }
                return Err(RejectReason::BadKb);
            }
        };
        if !row.is_of_microsoft() {
            return Err(RejectReason::BadKb);
        }
        let Some(machine) = machine else { return Ok(()) };
        if is_fixed {
            return Ok(());
        }
        let place = self.kb(kb);
        let kb = &mut self.kbs[place as usize];
        self.bytes += kb.describe(row.title.text(), row.product.text());
        let missing = packed_update(self.machines[machine].get_or_insert_default(), place, &mut self.bytes);
        missing.severity = missing.severity.max(Severity::parse(row.severity.text()));
        missing.cvss = missing.cvss.max(row.cvss.cvss());
        if let Some(seen) = PackedTimestamp::parse(row.first_seen.text()) {
            missing.first_seen = Some(missing.first_seen.map_or(seen, |first| first.min(seen)));
        }
        let cve = row.cve.text();
        if !cve.is_empty() {
            let next = u32::try_from(kb.cves.len()).expect("Safe: the memory is bounded");
            let number = *kb.cves.entry(packed(cve)).or_insert(next);
            self.bytes += if number == next { 32 } else { 0 } + missing.cves.insert(number);
            count.complete += 1;
        }
        Ok(())
    }

    /// The index of the machine of a row; `None` if it is out of scope.
    fn machine(&mut self, device: &RowField<'_>) -> Result<Option<usize>, RejectReason> {
        let id = match device {
            RowField::Text(_) => device.text(),
            RowField::Absent => "",
            RowField::Number(_) | RowField::Decimal(_) | RowField::Other => {
                return Err(RejectReason::WrongType);
            }
        };
        if id.is_empty() {
            return Err(RejectReason::NoId);
        }
        if id == self.last_device {
            return Ok(self.last_machine);
        }
        let is_lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
        let key = if is_lower { Cow::Borrowed(id) } else { Cow::Owned(id.to_ascii_lowercase()) };
        let place = self.index.get(&*key).map(|place| *place as usize);
        if place.is_none() && MachineId::parse(id).is_none() {
            return Err(RejectReason::BadId);
        }
        id.clone_into(&mut self.last_device);
        self.last_machine = place;
        Ok(place)
    }

    /// The index of a KB.
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
            self.kbs.push(CollectedKb { id, title, products, cves });
            self.bytes += size_of::<CollectedKb>() + 32;
        }
        self.last_kb = Some((id, place));
        place
    }
}

impl CollectedKb {
    /// Adds the texts of a row. Returns the bytes allocated.
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

/// The missing update of a machine for the KB with index `kb`.
fn packed_update<'a>(list: &'a mut Vec<PackedUpdate>, kb: u32, bytes: &mut usize) -> &'a mut PackedUpdate {
    let place = list.binary_search_by_key(&kb, |packed| packed.kb).unwrap_or_else(|place| {
        // The capacity of a vector may be twice its length.
        *bytes += 2 * size_of::<PackedUpdate>();
        let cves = CveSet::default();
        list.insert(place, PackedUpdate { kb, cves, first_seen: None, severity: None, cvss: None });
        place
    });
    &mut list[place]
}

fn bounded(text: &str) -> &str {
    let end = (text.len() > TEXT_CHARS).then(|| text.char_indices().nth(TEXT_CHARS)).flatten();
    end.map_or(text, |(end, _)| &text[..end])
}
