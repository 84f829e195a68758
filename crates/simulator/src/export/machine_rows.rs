//! All rows of one machine, and the oddities among them.
//!
//! A machine without missing updates has rows too: its software, without CVEs. Oddities depend on the
//! machine's index, so that a machine always has the same ones. None of them changes the expected result: the
//! rows that they add are of another vendor, fixed, without a KB, or duplicates.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::exported_machine::ExportedMachine;
use super::rows::{DeviceColumns, RowBuffer, RowColumns, RowStyle};
use super::update_catalog::{ExportedUpdate, UpdateCatalog, escaped};
use crate::random::mix;
use crate::releases::CLIENTS;

/// Index of the machine with a row of very many paths.
const MANY_PATHS_MACHINE: usize = 9;
const MANY_PATHS: usize = 700;

/// Age of the software on every machine.
const INSTALLED_AGO: SignedDuration = SignedDuration::from_hours(100 * 24);

const DOT_NET: &str = ".net_framework";
const EDGE: &str = "edge_chromium-based";
const DOT_NET_VERSION: &str = "4.8.9032.0";

/// Writes the rows of machines to one file.
pub(super) struct MachineRowWriter<'rows> {
    pub(super) rows: &'rows mut RowBuffer,
    pub(super) catalog: &'rows mut UpdateCatalog,
    /// Rows that are repeated later in the file.
    pub(super) repeated: &'rows mut Vec<Vec<u8>>,
    pub(super) realistic: bool,
    pub(super) generated: Timestamp,
}

impl MachineRowWriter<'_> {
    /// Writes the rows of a machine. They have parts, counted from 0; only the parts in this file are
    /// written.
    pub(super) fn write(&mut self, machine: &ExportedMachine<'_>, is_in_file: impl Fn(usize) -> bool) {
        let columns = self.columns(machine);
        let style = if self.realistic { style(machine.index) } else { RowStyle::default() };
        let updates = self.catalog.of(machine);
        for (part, update) in updates.iter().enumerate() {
            if is_in_file(part) {
                self.rows
                    .set_style(RowStyle { upper_case_id: style.upper_case_id && part % 2 == 0, ..style });
                self.update(machine, &columns, update);
            }
        }
        self.rows.set_style(RowStyle { upper_case_id: false, ..style });
        if is_in_file(0) {
            self.software(machine, &columns, &updates);
            if self.realistic {
                self.unrelated_rows(machine, &columns);
                self.invalid_lines(machine.index);
            }
        }
        if machine.is_linux && is_in_file(1) {
            self.linux(&columns);
        }
        self.rows.set_style(RowStyle::default());
    }

    fn columns(&self, machine: &ExportedMachine<'_>) -> DeviceColumns {
        let day_ago = || self.generated - SignedDuration::from_hours(20);
        DeviceColumns {
            id: escaped(machine.id),
            name: machine.name.map(escaped),
            platform: escaped(machine.platform),
            version: if machine.is_linux {
                "ubuntu_linux_22.04".to_owned()
            } else {
                machine.system.exported_version(4_000 + mix(5, machine.index as u64, 0) % 2_000)
            },
            group: machine.group.map(|(id, name)| (id, escaped(name))),
            last_seen: machine.last_seen.unwrap_or_else(day_ago).min(self.generated),
        }
    }

    fn update(
        &mut self,
        machine: &ExportedMachine<'_>,
        columns: &DeviceColumns,
        update: &Arc<ExportedUpdate>,
    ) {
        let has_oddity = |every: usize, at: usize| self.realistic && machine.index % every == at;
        let is_repeated = has_oddity(7, 1);
        let is_doubled = has_oddity(4, 1);
        let omits_first_seen = has_oddity(9, 7);
        let last = update.cves.len().saturating_sub(1);
        for (index, cve) in update.cves.iter().enumerate() {
            let product = update.products[index % update.products.len()].as_str();
            let version = if product == DOT_NET { DOT_NET_VERSION } else { &columns.version };
            let seen = machine.first_seen(update.released, index, self.generated);
            let row = RowColumns {
                cve: Some(cve),
                title: Some(&update.title),
                update: Some(&update.id),
                first_seen: (!omits_first_seen || index == 0 || index < last).then_some(seen),
                ..RowColumns::software("microsoft", product, version)
            };
            let start = self.rows.row(Some(columns), &row);
            if is_repeated && index == 0 {
                self.repeated.push(self.rows.bytes[start..].to_vec());
            }
            if is_doubled && index == 0 {
                self.rows.row(Some(columns), &RowColumns { product: "internet_explorer", ..row });
            }
        }
    }

    /// Writes rows without a CVE, one for each software that has none.
    fn software(
        &mut self,
        machine: &ExportedMachine<'_>,
        columns: &DeviceColumns,
        updates: &[Arc<ExportedUpdate>],
    ) {
        let own = if machine.is_linux {
            ("canonical", "ubuntu_linux")
        } else {
            ("microsoft", machine.system.product)
        };
        let all = [
            (own.0, own.1, columns.version.as_str()),
            ("microsoft", DOT_NET, DOT_NET_VERSION),
            ("microsoft", EDGE, "142.0.3595.69"),
        ];
        for (vendor, product, version) in all {
            let has_many_paths = self.realistic && machine.index == MANY_PATHS_MACHINE && product == EDGE;
            if !updates.iter().any(|update| update.products.iter().any(|other| other == product)) {
                let first_seen = Some(columns.last_seen - INSTALLED_AGO);
                let paths = if has_many_paths { MANY_PATHS } else { 1 };
                let row = RowColumns { first_seen, paths, ..RowColumns::software(vendor, product, version) };
                self.rows.row(Some(columns), &row);
            }
        }
    }

    /// Writes rows that are not a missing KB, although some look like one.
    fn unrelated_rows(&mut self, machine: &ExportedMachine<'_>, columns: &DeviceColumns) {
        let has_oddity = |every: usize, at: usize| machine.index % every == at;
        let example = self.catalog.of_old_update(machine.system);
        let row = RowColumns {
            cve: example.cves.first(),
            first_seen: Some(columns.last_seen - INSTALLED_AGO),
            ..RowColumns::software("microsoft", "office", "16.0.19029.20208")
        };
        if has_oddity(5, 2) {
            let acrobat =
                RowColumns { vendor: "adobe", product: "acrobat_reader_dc", version: "25.1.20432.0", ..row };
            self.rows
                .row(Some(columns), &RowColumns { title: Some("193220"), update: Some("193220"), ..acrobat });
        }
        if has_oddity(5, 4) {
            let advice = Some("ADV 200002");
            self.rows.row(Some(columns), &RowColumns { title: advice, update: advice, ..row });
        }
        if has_oddity(9, 3) {
            self.rows.row(Some(columns), &RowColumns { title: Some("Upgrade to the newest release"), ..row });
        }
        if has_oddity(6, 2)
            && let Some(update) = machine.installed_update
        {
            let installed_update = self.catalog.of_update(update, machine.system);
            let fixed = RowColumns {
                cve: installed_update.cves.first(),
                title: Some(&installed_update.title),
                update: Some(&installed_update.id),
                first_seen: Some(machine.first_seen(installed_update.released, 0, self.generated)),
                status: Some("Fixed"),
                ..RowColumns::software("microsoft", &installed_update.products[0], &columns.version)
            };
            self.rows.row(Some(columns), &fixed);
        }
    }

    fn linux(&mut self, columns: &DeviceColumns) {
        let example = self.catalog.of_old_update(&CLIENTS[0]);
        for (vendor, product, version, update) in [
            ("canonical", "openssl", "3.0.2-0ubuntu1.18", "USN-7663-1"),
            ("redhat", "podman", "4.9.4-13.el9", "RHSA-2024:9315"),
        ] {
            let row = RowColumns {
                cve: example.cves.first(),
                title: Some("CVE-2024-11218_oval:com.redhat.cve:def:202411218"),
                update: Some(update),
                first_seen: Some(columns.last_seen - INSTALLED_AGO),
                ..RowColumns::software(vendor, product, version)
            };
            self.rows.row(Some(columns), &row);
        }
    }

    /// Writes lines that are not rows, and rows of no machine.
    fn invalid_lines(&mut self, index: usize) {
        match index % 20 {
            2 => self.rows.line(b""),
            6 => self.rows.line(b"\t "),
            10 => self.rows.line(b"{\"DeviceId\":\"upstream connect error or disconnect/reset before heade"),
            12 => {
                let example = self.catalog.of_old_update(&CLIENTS[0]);
                let row = RowColumns {
                    cve: example.cves.first(),
                    title: Some(&example.title),
                    update: Some(&example.id),
                    ..RowColumns::software("microsoft", "windows_10", "10.0.19045.1")
                };
                self.rows.row(None, &row);
            }
            _ => {}
        }
    }
}

/// The spelling of a machine's rows in a realistic fleet.
fn style(index: usize) -> RowStyle {
    RowStyle {
        camel_case: index % 8 == 3,
        explicit_nulls: index % 8 == 3 || index % 8 == 6,
        score_as_text: index % 6 == 1,
        group_as_text: index % 10 == 6,
        upper_case_id: index % 12 == 4,
        kb_prefix: index % 17 == 5,
        extra_columns: index % 11 == 5,
        crlf: index % 13 == 9,
    }
}
