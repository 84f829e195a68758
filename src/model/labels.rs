//! Closed lists of words: values of metric labels and of configuration keys.

use std::fmt;

/// Defines an enum whose variants each stand for one word. `ALL` lists the variants in the order of
/// their declaration.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $( $(#[$variant_attribute:meta])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$variant_attribute])* $variant, )+
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant with this word, compared exactly.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|variant| variant.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(super) use words;

words! {
    /// The source of the data about machines: the configuration key `source`. The two list different
    /// things, so an update that one of them no longer lists after the other did is not fixed.
    #[derive(Default, clap::ValueEnum)]
    pub enum Source {
        /// One call per machine
        #[default]
        Machines = "machines",
        /// The bulk export of vulnerabilities
        Export = "export",
    }
}

words! {
    /// Amount of detail in an exposition: the label `detail` and the configuration key
    /// `metrics.detail`. A level contains those before it.
    pub enum DetailLevel {
        /// Counts per tenant, platform, device group and update.
        Fleet = "fleet",
        /// Also per machine.
        Machine = "machine",
        /// Also per machine and missing update. The series limit applies here too, so the configuration
        /// accepts `auto` as another word for this level.
        Update = "update",
    }
}

words! {
    /// Severity of the worst vulnerability that an update fixes: the label `severity`, in Defender's
    /// words (<https://learn.microsoft.com/defender-endpoint/api/vulnerability>). Ordered from low to
    /// critical.
    pub enum Severity {
        /// `Low`
        Low = "low",
        /// `Medium`
        Medium = "medium",
        /// `High`
        High = "high",
        /// `Critical`
        Critical = "critical",
    }
}

impl Severity {
    /// Every severity, the worst first: the order of exposition.
    pub const WORST_FIRST: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// Parses a severity, ignoring case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

words! {
    /// Severity of the worst vulnerability that an update fixes, in Microsoft's own rating: the label
    /// `vendor_severity` (<https://www.microsoft.com/msrc/security-update-severity-rating-system>). Ordered from low
    /// to critical.
    pub enum VendorSeverity {
        /// `Low`
        Low = "low",
        /// `Moderate`
        Moderate = "moderate",
        /// `Important`
        Important = "important",
        /// `Critical`
        Critical = "critical",
    }
}

impl VendorSeverity {
    /// Every severity, the worst first: the order of exposition.
    pub const WORST_FIRST: [Self; 4] = [Self::Critical, Self::Important, Self::Moderate, Self::Low];

    /// Parses a severity, ignoring case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

words! {
    /// The demand of an update for a restart of Windows, the strongest last.
    pub enum Restart {
        /// `No`
        No = "no",
        /// `Maybe`
        Maybe = "maybe",
        /// `Yes`
        Yes = "yes",
    }
}

words! {
    /// A source of facts about KBs: the label `source` and the keys of `facts.sources`.
    pub enum FactsSource {
        /// The release documents of the Microsoft Security Response Center (CVRF).
        Msrc = "msrc",
        /// The catalogue of known exploited vulnerabilities of CISA.
        Kev = "kev",
        /// The Exploit Prediction Scoring System of FIRST.
        Epss = "epss",
        /// The dates of end of servicing of endoflife.date.
        Servicing = "servicing",
    }
}

words! {
    /// The cause of a failure to fetch, read or write facts: the label `reason` of `facts_failures_total`. In
    /// alphabetical order.
    pub enum FactsFailure {
        /// The data does not have the expected shape.
        Decode = "decode",
        /// The host refuses the request (401, 403, 407).
        Forbidden = "forbidden",
        /// The connection failed or was interrupted.
        Network = "network",
        /// The file has the format of a newer exporter.
        Newer = "newer",
        /// The host does not have the data (404, 410).
        NotFound = "not_found",
        /// The document has a lower revision than the one in use.
        Older = "older",
        /// The host redirects to a place that is not allowed.
        Redirect = "redirect",
        /// The host failed (408, 429 or 5xx).
        ServerError = "server_error",
        /// The connection settings cannot be used.
        Settings = "settings",
        /// The data lacks more than half of what was there before.
        Shrunk = "shrunk",
        /// No complete reply in time.
        Timeout = "timeout",
        /// The data is larger than its limit.
        TooLarge = "too_large",
        /// A status that is neither a success nor one of the others.
        UnexpectedStatus = "unexpected_status",
        /// The file cannot be read.
        Unreadable = "unreadable",
        /// The file cannot be written.
        Unwritable = "unwritable",
    }
}

words! {
    /// The origin of facts: a source, or the facts file. The label `source` of `facts_failures_total`.
    pub enum FactsOrigin {
        /// The release documents of the Microsoft Security Response Center (CVRF).
        Msrc = "msrc",
        /// The catalogue of known exploited vulnerabilities of CISA.
        Kev = "kev",
        /// The Exploit Prediction Scoring System of FIRST.
        Epss = "epss",
        /// The dates of end of servicing of endoflife.date.
        Servicing = "servicing",
        /// The facts file.
        File = "file",
    }
}

impl From<FactsSource> for FactsOrigin {
    fn from(source: FactsSource) -> Self {
        match source {
            FactsSource::Msrc => Self::Msrc,
            FactsSource::Kev => Self::Kev,
            FactsSource::Epss => Self::Epss,
            FactsSource::Servicing => Self::Servicing,
        }
    }
}

words! {
    /// A policy by published rules for patching: the key `preset` of a policy.
    pub enum PolicyPreset {
        /// Cyber Essentials of the United Kingdom.
        CyberEssentials = "cyber-essentials",
        /// The Payment Card Industry Data Security Standard.
        PciDss = "pci-dss",
        /// Essential Eight of Australia, maturity level one.
        EssentialEightMl1 = "essential-eight-ml1",
        /// Essential Eight of Australia, maturity level two.
        EssentialEightMl2 = "essential-eight-ml2",
        /// Essential Eight of Australia, maturity level three.
        EssentialEightMl3 = "essential-eight-ml3",
        /// Binding Operational Directive 26-04 of CISA.
        CisaBod2604 = "cisa-bod-26-04",
    }
}

words! {
    /// The API operation of a request: the label `endpoint`.
    pub enum ApiOperation {
        /// The machine list, all its pages.
        Machines = "machines",
        /// Machines with a tag.
        FindByTag = "findbytag",
        /// The missing KBs of one machine.
        MissingKbs = "getmissingkbs",
        /// The list of the files of the bulk export.
        Export = "softwarevulnerabilitiesexport",
        /// A file of the bulk export: a download from another host, outside every quota.
        ExportFile = "exportfile",
    }
}

words! {
    /// The cause of a failed poll or of a failed part of it: the label `reason` of
    /// `poll_failures_total`. In alphabetical order, which is the order in log lines.
    pub enum FailureReason {
        /// The API does not accept the request (400).
        BadRequest = "bad_request",
        /// The reply does not have the expected shape.
        Decode = "decode",
        /// The export has no file or no row.
        Empty = "empty",
        /// An application role is missing (403).
        Forbidden = "forbidden",
        /// A link leads to a host that must not receive the token.
        ForeignLink = "foreign_link",
        /// A file of the export did not arrive complete.
        Incomplete = "incomplete",
        /// The connection failed.
        Network = "network",
        /// The API does not know the machine (404).
        NotFound = "not_found",
        /// The pages of a list do not end.
        PageLimit = "page_limit",
        /// The API failed (408 or 5xx).
        ServerError = "server_error",
        /// The API refuses calls for longer than a poll waits (429).
        Throttled = "throttled",
        /// No complete reply in time.
        Timeout = "timeout",
        /// No token.
        Token = "token",
        /// The reply is larger than its limit.
        TooLarge = "too_large",
        /// The API refuses a new token (401).
        Unauthorized = "unauthorized",
        /// A status that the API does not document.
        UnexpectedStatus = "unexpected_status",
    }
}

words! {
    /// The defect of a record that is not used: the label `reason` of `rejected_records_total`.
    pub enum RejectReason {
        /// No id.
        NoId = "no_id",
        /// An id with characters or a length that no id has.
        BadId = "bad_id",
        /// Not a JSON object, or an id that is not text.
        WrongType = "wrong_type",
        /// The id of an update that is not a KB number, as of an advisory.
        BadKb = "bad_kb",
        /// Not JSON.
        Malformed = "malformed",
        /// Longer than any valid record.
        TooLong = "too_long",
    }
}

words! {
    /// The defect of a machine list or export that is not used: the label `reason` of
    /// `rejected_snapshots_total`.
    pub enum SnapshotRejectReason {
        /// It lost more than half of the machines.
        Shrunk = "shrunk",
        /// It is older than the current one.
        Older = "older",
        /// It has no file or no row.
        Empty = "empty",
        /// A file of it did not arrive complete.
        Incomplete = "incomplete",
    }
}

words! {
    /// The route of a request to the web server: the label `path`. `/metrics` stands for the configured
    /// telemetry path, `other` for every path without a route.
    pub enum HttpPath {
        /// The overview.
        Root = "/",
        /// The machines: the list, the page of one machine, and their downloads.
        Machines = "/machines",
        /// The missing updates: the list, the page of one update, and their downloads.
        Updates = "/updates",
        /// The status page.
        Status = "/status",
        /// The metrics, whatever their configured path.
        Metrics = "/metrics",
        /// The liveness probe.
        Healthy = "/-/healthy",
        /// The readiness probe.
        Ready = "/-/ready",
        /// The reload.
        Reload = "/-/reload",
        /// No route.
        Other = "other",
    }
}

words! {
    /// Severity of a log line: the flag `--log.level` and the label `level`.
    #[derive(clap::ValueEnum)]
    pub enum LogLevel {
        /// Details for developers
        Debug = "debug",
        /// Start, stop and one line per poll
        Info = "info",
        /// Degraded, but continuing
        Warn = "warn",
        /// An operator has to act
        Error = "error",
    }
}

words! {
    /// Text format of an exposition: the label `format`.
    pub enum ExpositionFormat {
        /// Text 0.0.4.
        Text = "text",
        /// `OpenMetrics` 1.0.
        OpenMetrics = "openmetrics",
    }
}

words! {
    /// Encoding of a response body: the label `encoding`.
    pub enum ContentEncoding {
        /// Not compressed.
        Identity = "identity",
        /// One gzip member.
        Gzip = "gzip",
    }
}

#[cfg(test)]
mod tests;
