//! The part of `OData` that the machine list supports: `$filter`, `$skip`, `$top`, and next links.
//!
//! A filter is a conjunction of `field eq 'x'` and `startswith(field,'x')`. The real API supports more. The
//! simulator rejects anything else, as the real API rejects unknown options.

use axum::extract::Query;
use axum::http::Uri;
use jiff::Timestamp;
use serde_json::Value;

use super::record::MachineRecord;

/// Fields that `$filter` may name, from the API page "List machines".
const FILTERABLE: [&str; 13] = [
    "computerDnsName",
    "id",
    "version",
    "deviceValue",
    "aadDeviceId",
    "lastIpAddress",
    "exposureLevel",
    "onboardingStatus",
    "healthStatus",
    "osPlatform",
    "riskScore",
    "rbacGroupId",
    "lastSeen",
];

#[derive(Debug, PartialEq)]
enum FilterTerm {
    Equals { field: String, value: Value },
    StartsWith { field: String, prefix: String },
}

/// A parsed `$filter`. Without terms it matches everything.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ODataFilter(Vec<FilterTerm>);

impl ODataFilter {
    /// Parses a filter. None if it contains anything that the simulator does not support.
    pub(super) fn parse(text: &str) -> Option<Self> {
        conjuncts(text).into_iter().map(term).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(super) fn matches(&self, record: &MachineRecord, now: Timestamp) -> bool {
        self.0.iter().all(|term| match term {
            FilterTerm::Equals { field, value } => record.field(field, now) == *value,
            FilterTerm::StartsWith { field, prefix } => {
                record.field(field, now).as_str().is_some_and(|text| text.starts_with(prefix))
            }
        })
    }
}

/// Splits at ` and ` outside quotes.
fn conjuncts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'\'' {
            quoted = !quoted;
        } else if !quoted && at >= start && text[at..].starts_with(" and ") {
            parts.push(text[start..at].trim());
            start = at + " and ".len();
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn term(text: &str) -> Option<FilterTerm> {
    if let Some(arguments) = text.strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')')) {
        let (field, prefix) = arguments.split_once(',')?;
        let Value::String(prefix) = literal(prefix.trim())? else {
            return None;
        };
        return Some(FilterTerm::StartsWith { field: filterable(field)?, prefix });
    }
    let (field, value) = text.split_once(" eq ")?;
    Some(FilterTerm::Equals { field: filterable(field)?, value: literal(value.trim())? })
}

fn filterable(field: &str) -> Option<String> {
    let field = field.trim();
    FILTERABLE.contains(&field).then(|| field.to_owned())
}

fn literal(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        let plain = inner.replace("''", "\u{0}");
        return (!plain.contains('\'')).then(|| Value::String(plain.replace('\u{0}', "'")));
    }
    match text {
        "null" => Some(Value::Null),
        number => number.parse::<u64>().ok().map(Value::from),
    }
}

/// The decoded query of a request; empty if it cannot be decoded.
pub(super) fn query_pairs(uri: &Uri) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// The query options of a list call.
#[derive(Debug, Default)]
pub(super) struct PageRequest {
    pub(super) filter: ODataFilter,
    pub(super) skip: usize,
    pub(super) top: Option<usize>,
    pub(super) token: Option<String>,
}

impl PageRequest {
    /// Parses the query of a request.
    ///
    /// # Errors
    /// Returns the message for the caller if an option is unknown or malformed.
    pub(super) fn parse(uri: &Uri) -> Result<Self, String> {
        let mut request = Self::default();
        for (key, value) in query_pairs(uri) {
            let malformed = || format!("Invalid query option: {key}={value}");
            match key.as_str() {
                "$filter" => request.filter = ODataFilter::parse(&value).ok_or_else(malformed)?,
                "$skip" => request.skip = value.parse().map_err(|_| malformed())?,
                "$top" => match value.parse() {
                    Ok(top @ 0..=10_000) => request.top = Some(top),
                    _ => return Err(malformed()),
                },
                "$skiptoken" => request.token = Some(value.clone()),
                _ if key.starts_with('$') => return Err(malformed()),
                _ => {}
            }
        }
        Ok(request)
    }
}

/// The form of the next links in the pages of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NextLinks {
    /// The request with another `$skip`.
    #[default]
    Complete,
    /// No link, although more records follow.
    Absent,
    /// A link without the names of the options: `?=value&$skip=1`. It grows from page to page.
    Growing,
    /// A link to the page itself.
    SamePage,
    /// A link to the first page.
    FirstPage,
    /// A complete link with the scheme `http`.
    Http,
    /// A complete link with this port.
    Port(u16),
}

/// The next link of the page at `uri`, which ends after `skip` records; none if there is no link.
pub(super) fn next_link(
    links: NextLinks,
    base_url: &str,
    uri: &Uri,
    skip: usize,
    token: Option<&str>,
) -> Option<String> {
    let complete = || next_page(uri, skip, token);
    let here = uri.path_and_query().map_or("/", |both| both.as_str());
    Some(match links {
        NextLinks::Complete => format!("{base_url}{}", complete()),
        NextLinks::Absent => return None,
        NextLinks::Growing => {
            let value = |part: &str| format!("={}&", part.split_once('=').map_or("", |(_, value)| value));
            let values: String = uri.query().unwrap_or_default().split('&').map(value).collect();
            let token = token.map(|token| format!("&$skiptoken={token}")).unwrap_or_default();
            format!("{base_url}{}?{values}$skip={skip}{token}", uri.path())
        }
        NextLinks::SamePage => format!("{base_url}{here}"),
        NextLinks::FirstPage => format!("{base_url}{}", next_page(uri, 0, None)),
        NextLinks::Http => format!("{base_url}{}", complete()).replacen("https", "http", 1),
        NextLinks::Port(port) => {
            let host = base_url.rsplit_once(':').map_or(base_url, |(host, _)| host);
            format!("{host}:{port}{}", complete())
        }
    })
}

/// The path and query of the page after `skip` records. The rest of the query is kept unchanged.
fn next_page(uri: &Uri, skip: usize, token: Option<&str>) -> String {
    let kept = uri.query().unwrap_or_default().split('&').filter(|part| {
        let key = part.split('=').next().unwrap_or_default().replace("%24", "$");
        !part.is_empty() && key != "$skip" && key != "$skiptoken"
    });
    let mut parts: Vec<String> = kept.map(str::to_owned).collect();
    parts.push(format!("$skip={skip}"));
    parts.extend(token.map(|token| format!("$skiptoken={token}")));
    format!("{}?{}", uri.path(), parts.join("&"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(name: &str) -> MachineRecord {
        MachineRecord::Raw(
            json!({"id": "1", "computerDnsName": name, "osPlatform": "Windows10", "rbacGroupId": 12}),
        )
    }

    fn matches(filter: &str, record: &MachineRecord) -> bool {
        ODataFilter::parse(filter).expect(filter).matches(record, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn filter_accepts_conjunctions_of_simple_terms() {
        let record = machine("rock and roll's");
        assert!(matches("osPlatform eq 'Windows10'", &record));
        assert!(matches("computerDnsName eq 'rock and roll''s' and rbacGroupId eq 12", &record));
        assert!(matches("startswith(computerDnsName,'rock and') and osPlatform eq 'Windows10'", &record));
        assert!(!matches("startswith(computerDnsName, 'roll')", &record));
    }

    #[test]
    fn filter_rejects_unsupported_syntax() {
        for unknown in [
            "",
            "osPlatform",
            "osPlatform eq Windows10",
            "rbacGroupName eq 'x'",
            "machineTags/any(t: t eq 'x')",
            "osPlatform eq 'a' or osPlatform eq 'b'",
            "not startswith(id,'a')",
        ] {
            assert_eq!(ODataFilter::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn next_link_keeps_the_filter_unchanged() {
        let uri = Uri::from_static("/api/machines?$filter=id%20eq%20'a'&%24skip=20");
        assert_eq!(next_page(&uri, 40, None), "/api/machines?$filter=id%20eq%20'a'&$skip=40");
    }
}
