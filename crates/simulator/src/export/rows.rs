//! Rows of the export as bytes: one JSON object per line, spelt as in the real files.
//!
//! Names and types are those of the page "Export software vulnerabilities assessment per device". Its files
//! use Pascal case and omit nulls. A [`RowStyle`] holds the differences between the rows of a realistic
//! fleet. Bytes are written in order, and nothing is parsed or sorted, because benchmarks read these rows.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::update_catalog::Cve;

/// The spelling of a machine's rows.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "oddities come in every combination")]
pub(super) struct RowStyle {
    /// Keys in camel case, as in the JSON API.
    pub(super) camel_case: bool,
    pub(super) explicit_nulls: bool,
    pub(super) score_as_text: bool,
    pub(super) group_as_text: bool,
    pub(super) upper_case_id: bool,
    pub(super) kb_prefix: bool,
    pub(super) extra_columns: bool,
    pub(super) crlf: bool,
}

/// The columns that are the same in all rows of a machine. Texts are escaped for JSON.
pub(super) struct DeviceColumns {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) platform: String,
    pub(super) version: String,
    pub(super) group: Option<(u64, String)>,
    pub(super) last_seen: Timestamp,
}

/// The columns that differ between the rows of a machine. Texts are escaped for JSON.
#[derive(Clone, Copy)]
pub(super) struct RowColumns<'row> {
    pub(super) vendor: &'row str,
    pub(super) product: &'row str,
    pub(super) version: &'row str,
    pub(super) cve: Option<&'row Cve>,
    /// `RecommendedSecurityUpdate`
    pub(super) title: Option<&'row str>,
    /// `RecommendedSecurityUpdateId`
    pub(super) update: Option<&'row str>,
    pub(super) first_seen: Option<Timestamp>,
    /// A column of the delta export that full exports contain too.
    pub(super) status: Option<&'static str>,
    /// The number of paths at which the software was found.
    pub(super) paths: usize,
}

impl<'row> RowColumns<'row> {
    /// A row for software without a known vulnerability.
    pub(super) fn software(vendor: &'row str, product: &'row str, version: &'row str) -> Self {
        Self {
            vendor,
            product,
            version,
            cve: None,
            title: None,
            update: None,
            first_seen: None,
            status: None,
            paths: 1,
        }
    }
}

/// Written lines that were not taken yet.
#[derive(Default)]
pub(super) struct RowBuffer {
    pub(super) bytes: Vec<u8>,
    style: RowStyle,
    started: bool,
}

impl RowBuffer {
    /// Sets the spelling of the rows that follow.
    pub(super) fn set_style(&mut self, style: RowStyle) {
        self.style = style;
    }

    /// Writes a line that need not be JSON. A line end is written before each line except the first, so that
    /// the last line has none.
    pub(super) fn line(&mut self, text: &[u8]) {
        self.end_line();
        self.bytes.extend_from_slice(text);
    }

    pub(super) fn end_line(&mut self) {
        if self.started {
            self.push(if self.style.crlf { "\r\n" } else { "\n" });
        }
        self.started = true;
    }

    /// Writes a row about a machine, or about none. Returns its offset in [`bytes`](Self::bytes).
    pub(super) fn row(&mut self, device: Option<&DeviceColumns>, row: &RowColumns<'_>) -> usize {
        self.end_line();
        let start = self.bytes.len();
        self.bytes.push(b'{');
        self.identity(device, row);
        self.vulnerability(row);
        self.evidence(device, row);
        self.bytes.push(b'}');
        start
    }

    fn identity(&mut self, device: Option<&DeviceColumns>, row: &RowColumns<'_>) {
        self.key("Id");
        self.push("\"");
        self.push(device.map_or("", |device| &device.id));
        for part in [row.vendor, row.product, row.version, row.cve.map_or("", |cve| &cve.id)] {
            self.push("_");
            self.push(part);
        }
        self.push("_\"");
        if let Some(device) = device {
            self.key("DeviceId");
            self.push("\"");
            let start = self.bytes.len();
            self.push(&device.id);
            if self.style.upper_case_id {
                self.bytes[start..].make_ascii_uppercase();
            }
            self.push("\"");
            self.text("DeviceName", device.name.as_deref());
            self.key("RbacGroupId");
            let id = device.group.as_ref().map_or(0, |(id, _)| *id);
            let quote = if self.style.group_as_text { "\"" } else { "" };
            self.push(quote);
            self.number(id);
            self.push(quote);
            self.text("RbacGroupName", Some(device.group.as_ref().map_or("Unassigned", |(_, name)| name)));
            self.text("OSPlatform", Some(&device.platform));
            self.text("OSVersion", Some(&device.version));
        }
        self.text("OSArchitecture", Some("x64"));
        self.text("SoftwareVendor", Some(row.vendor));
        self.text("SoftwareName", Some(row.product));
        self.text("SoftwareVersion", Some(row.version));
    }

    fn vulnerability(&mut self, row: &RowColumns<'_>) {
        let severity = row.cve.and_then(|cve| cve.severity);
        self.text("CveId", row.cve.map(|cve| cve.id.as_str()));
        self.text("VulnerabilitySeverityLevel", severity.map(super::update_catalog::CveSeverity::name));
        match severity.map(super::update_catalog::CveSeverity::score) {
            Some(score) if !self.style.score_as_text => {
                self.key("CvssScore");
                self.push(score);
            }
            score => self.text("CvssScore", score),
        }
        self.text("ExploitabilityLevel", Some(row.cve.map_or("NoExploit", |cve| cve.exploitability)));
        self.text("RecommendedSecurityUpdate", row.title);
        let Some(update) = row.update else {
            self.text("RecommendedSecurityUpdateId", None);
            return self.text("RecommendedSecurityUpdateUrl", None);
        };
        self.key("RecommendedSecurityUpdateId");
        self.push(if self.style.kb_prefix && update.starts_with(|first: char| first.is_ascii_digit()) {
            "\"KB"
        } else {
            "\""
        });
        self.push(update);
        self.push("\"");
        self.key("RecommendedSecurityUpdateUrl");
        self.push("\"https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB");
        self.push(update);
        self.push("\"");
        if let Some(title) = row.title {
            self.key("CveBatchTitle");
            self.push("\"Microsoft ");
            self.push(title);
            self.push("\"");
        }
    }

    fn evidence(&mut self, device: Option<&DeviceColumns>, row: &RowColumns<'_>) {
        self.key("SecurityUpdateAvailable");
        self.push(if row.update.is_some() { "true" } else { "false" });
        self.key("DiskPaths");
        self.push("[");
        for path in 0..row.paths {
            self.push(if path == 0 { "\"" } else { ",\"" });
            self.push("C:\\\\Program Files\\\\WindowsApps\\\\");
            self.push(row.product);
            self.push("\\\\");
            self.number(path as u64);
            self.push("\\\\bin\"");
        }
        self.push("]");
        self.key("RegistryPaths");
        self.push("[\"HKEY_LOCAL_MACHINE\\\\SOFTWARE\\\\Microsoft\\\\Windows\\\\CurrentVersion\\\\");
        self.push(row.product);
        self.push("\"]");
        self.time(
            "LastSeenTimestamp",
            device.map(|device| device.last_seen.max(row.first_seen.unwrap_or(Timestamp::MIN))),
        );
        self.time("FirstSeenTimestamp", row.first_seen);
        self.key("RecommendationReference");
        self.push("\"va-_-");
        self.push(row.vendor);
        self.push("-_-");
        self.push(row.product);
        self.push("\"");
        if row.status.is_some() || self.style.extra_columns {
            self.text("Status", Some(row.status.unwrap_or("New")));
            self.time("EventTimestamp", row.first_seen);
            self.key("IsOnboarded");
            self.push("true");
        }
        if self.style.extra_columns {
            self.text("CveMitigationStatus", None);
            self.key("PreviewInsights");
            self.push(r#"{"Scores":[0.97,null],"DeviceId":"not here","FaultBody":{"Kind":7}}"#);
        }
    }

    /// Writes the name of a column, given in Pascal case.
    fn key(&mut self, name: &str) {
        if self.bytes.last() != Some(&b'{') {
            self.bytes.push(b',');
        }
        self.bytes.push(b'"');
        let start = self.bytes.len();
        self.push(name);
        if self.style.camel_case {
            let capitals = if name.starts_with("OS") { 2 } else { 1 };
            self.bytes[start..start + capitals].make_ascii_lowercase();
        }
        self.push("\":");
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => {
                self.key(name);
                self.push("\"");
                self.push(value);
                self.push("\"");
            }
            None if self.style.explicit_nulls => {
                self.key(name);
                self.push("null");
            }
            None => {}
        }
    }

    /// Writes a time as `YYYY-MM-DD HH:MM:SS[.fffffff]`, without a zone.
    fn time(&mut self, name: &str, value: Option<Timestamp>) {
        let Some(value) = value else {
            return self.text(name, None);
        };
        let time = TimeZone::UTC.to_datetime(value);
        self.key(name);
        self.push("\"");
        self.digits(time.year().unsigned_abs().into(), 4);
        for (mark, part) in [("-", time.month()), ("-", time.day()), (" ", time.hour())] {
            self.push(mark);
            self.digits(part.unsigned_abs().into(), 2);
        }
        for part in [time.minute(), time.second()] {
            self.push(":");
            self.digits(part.unsigned_abs().into(), 2);
        }
        if time.subsec_nanosecond() != 0 {
            self.push(".");
            self.digits(u64::from(time.subsec_nanosecond().unsigned_abs()) / 100, 7);
        }
        self.push("\"");
    }

    fn number(&mut self, number: u64) {
        self.digits(number, number.checked_ilog10().unwrap_or(0) as usize + 1);
    }

    fn digits(&mut self, mut number: u64, count: usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + count, b'0');
        for digit in self.bytes[start..].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }

    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }
}
