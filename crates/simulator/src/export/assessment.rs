//! Everything the export says about one machine, and the oddities that stand among its rows.
//!
//! A machine without findings has rows too: its software, without CVEs. Oddities are tied to the machine's
//! index, so that the same machine is always odd in the same way. None of them changes the truth: what they
//! add is of another vendor, fixed, no KB, or there already.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::findings::{Finding, Findings, escaped};
use super::rows::{Device, Lines, Row, Style};
use super::subject::Subject;
use crate::random::mix;
use crate::updates::CLIENTS;

/// The machine with a row of very many paths.
const SPRAWLING: usize = 9;
const MANY_PATHS: usize = 700;

/// The software on every machine has been there since.
const INSTALLED_AGO: SignedDuration = SignedDuration::from_hours(100 * 24);

const DOT_NET: &str = ".net_framework";
const EDGE: &str = "edge_chromium-based";
const DOT_NET_VERSION: &str = "4.8.9032.0";

/// Writes rows of machines, each where it belongs.
pub(super) struct Assessment<'lines> {
    pub(super) lines: &'lines mut Lines,
    pub(super) findings: &'lines mut Findings,
    /// Rows that are said once more, later.
    pub(super) repeated: &'lines mut Vec<Vec<u8>>,
    pub(super) awkward: bool,
    pub(super) generated: Timestamp,
}

impl Assessment<'_> {
    /// The rows of a machine. They come in parts, counted from 0, and only those that are `here` are written.
    pub(super) fn write(&mut self, subject: &Subject<'_>, here: impl Fn(usize) -> bool) {
        let device = self.device(subject);
        let style = if self.awkward { style(subject.index) } else { Style::default() };
        let found = self.findings.of(subject);
        for (part, finding) in found.iter().enumerate() {
            if here(part) {
                self.lines.set_style(Style { upper_case_id: style.upper_case_id && part % 2 == 0, ..style });
                self.finding(subject, &device, finding);
            }
        }
        self.lines.set_style(Style { upper_case_id: false, ..style });
        if here(0) {
            self.software(subject, &device, &found);
            if self.awkward {
                self.others(subject, &device);
                self.spoil(subject.index);
            }
        }
        if subject.linux && here(1) {
            self.linux(&device);
        }
        self.lines.set_style(Style::default());
    }

    fn device(&self, subject: &Subject<'_>) -> Device {
        let build = subject.system.build;
        let day_ago = || self.generated - SignedDuration::from_hours(20);
        Device {
            id: escaped(subject.id),
            name: subject.name.map(escaped),
            platform: escaped(subject.platform),
            version: if subject.linux {
                "ubuntu_linux_22.04".to_owned()
            } else {
                format!("10.0.{build}.{}", 4_000 + mix(5, subject.index as u64, 0) % 2_000)
            },
            group: subject.group.map(|(id, name)| (id, escaped(name))),
            last_seen: subject.last_seen.unwrap_or_else(day_ago).min(self.generated),
        }
    }

    fn finding(&mut self, subject: &Subject<'_>, device: &Device, finding: &Arc<Finding>) {
        let odd = |every: usize, at: usize| self.awkward && subject.index % every == at;
        let (repeats, doubles, forgets) = (odd(7, 1), odd(4, 1), odd(9, 7));
        let last = finding.cves.len().saturating_sub(1);
        for (place, cve) in finding.cves.iter().enumerate() {
            let product = finding.products[place % finding.products.len()].as_str();
            let version = if product == DOT_NET { DOT_NET_VERSION } else { &device.version };
            let seen = subject.first_seen(finding.released, place, self.generated);
            let row = Row {
                cve: Some(cve),
                title: Some(&finding.title),
                update: Some(&finding.id),
                first_seen: (!forgets || place == 0 || place < last).then_some(seen),
                ..Row::software("microsoft", product, version)
            };
            let start = self.lines.row(Some(device), &row);
            if repeats && place == 0 {
                self.repeated.push(self.lines.bytes[start..].to_vec());
            }
            if doubles && place == 0 {
                self.lines.row(Some(device), &Row { product: "internet_explorer", ..row });
            }
        }
    }

    /// Rows without a CVE, one for each software that has none.
    fn software(&mut self, subject: &Subject<'_>, device: &Device, found: &[Arc<Finding>]) {
        let own =
            if subject.linux { ("canonical", "ubuntu_linux") } else { ("microsoft", subject.system.product) };
        let all = [
            (own.0, own.1, device.version.as_str()),
            ("microsoft", DOT_NET, DOT_NET_VERSION),
            ("microsoft", EDGE, "142.0.3595.69"),
        ];
        for (vendor, product, version) in all {
            let sprawls = self.awkward && subject.index == SPRAWLING && product == EDGE;
            if !found.iter().any(|finding| finding.products.iter().any(|other| other == product)) {
                let first_seen = Some(device.last_seen - INSTALLED_AGO);
                let paths = if sprawls { MANY_PATHS } else { 1 };
                let row = Row { first_seen, paths, ..Row::software(vendor, product, version) };
                self.lines.row(Some(device), &row);
            }
        }
    }

    /// Findings that are no missing KB, though some look like one.
    fn others(&mut self, subject: &Subject<'_>, device: &Device) {
        let odd = |every: usize, at: usize| subject.index % every == at;
        let example = self.findings.of_update_of_the_past(subject.system);
        let row = Row {
            cve: example.cves.first(),
            first_seen: Some(device.last_seen - INSTALLED_AGO),
            ..Row::software("microsoft", "office", "16.0.19029.20208")
        };
        if odd(5, 2) {
            let acrobat =
                Row { vendor: "adobe", product: "acrobat_reader_dc", version: "25.1.20432.0", ..row };
            self.lines.row(Some(device), &Row { title: Some("193220"), update: Some("193220"), ..acrobat });
        }
        if odd(5, 4) {
            let advice = Some("ADV 200002");
            self.lines.row(Some(device), &Row { title: advice, update: advice, ..row });
        }
        if odd(9, 3) {
            self.lines.row(Some(device), &Row { title: Some("Upgrade to the newest release"), ..row });
        }
        if odd(6, 2)
            && let Some(update) = subject.settled
        {
            let settled = self.findings.of_update(update, subject.system);
            let fixed = Row {
                cve: settled.cves.first(),
                title: Some(&settled.title),
                update: Some(&settled.id),
                first_seen: Some(subject.first_seen(settled.released, 0, self.generated)),
                status: Some("Fixed"),
                ..Row::software("microsoft", &settled.products[0], &device.version)
            };
            self.lines.row(Some(device), &fixed);
        }
    }

    fn linux(&mut self, device: &Device) {
        let example = self.findings.of_update_of_the_past(&CLIENTS[0]);
        for (vendor, product, version, update) in [
            ("canonical", "openssl", "3.0.2-0ubuntu1.18", "USN-7663-1"),
            ("redhat", "podman", "4.9.4-13.el9", "RHSA-2024:9315"),
        ] {
            let row = Row {
                cve: example.cves.first(),
                title: Some("CVE-2024-11218_oval:com.redhat.cve:def:202411218"),
                update: Some(update),
                first_seen: Some(device.last_seen - INSTALLED_AGO),
                ..Row::software(vendor, product, version)
            };
            self.lines.row(Some(device), &row);
        }
    }

    /// Lines that are no rows, and rows of no machine.
    fn spoil(&mut self, index: usize) {
        match index % 20 {
            2 => self.lines.line(b""),
            6 => self.lines.line(b"\t "),
            10 => self.lines.line(b"{\"DeviceId\":\"upstream connect error or disconnect/reset before heade"),
            12 => {
                let example = self.findings.of_update_of_the_past(&CLIENTS[0]);
                let row = Row {
                    cve: example.cves.first(),
                    title: Some(&example.title),
                    update: Some(&example.id),
                    ..Row::software("microsoft", "windows_10", "10.0.19045.1")
                };
                self.lines.row(None, &row);
            }
            _ => {}
        }
    }
}

/// How a machine's rows are spelt in an awkward fleet.
fn style(index: usize) -> Style {
    Style {
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
