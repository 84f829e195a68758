//! Content negotiation: the format and encoding of the exposition.
//!
//! RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3: lists of ranges with weights. Weight 0 is a refusal, and the
//! most specific range applies. Unreadable ranges are ignored. A client that refuses everything receives
//! plain text, which is more useful than an error.

use axum::http::{HeaderMap, HeaderName, header};

use crate::model::{ContentEncoding, ExpositionFormat};

/// Selects gzip if it is accepted and the identity encoding is not preferred.
pub(super) fn wanted_encoding(headers: &HeaderMap) -> ContentEncoding {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for MediaRange { name, weight, .. } in ranges(headers, &header::ACCEPT_ENCODING) {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "identity" => identity = Some(weight),
            "*" => any = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    if gzip > 0 && gzip >= identity.unwrap_or(0) { ContentEncoding::Gzip } else { ContentEncoding::Identity }
}

/// Selects `OpenMetrics` if it is named and the text format is not preferred, or if only the text format is
/// refused.
pub(super) fn wanted_format(headers: &HeaderMap) -> ExpositionFormat {
    let (mut openmetrics, mut text) = (BestRange::default(), BestRange::default());
    for MediaRange { name, version, weight } in ranges(headers, &header::ACCEPT) {
        match name.to_ascii_lowercase().as_str() {
            "*/*" => {
                openmetrics.offer(Specificity::Any, weight);
                text.offer(Specificity::Any, weight);
            }
            "application/*" => openmetrics.offer(Specificity::Type, weight),
            "text/*" => text.offer(Specificity::Type, weight),
            "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                openmetrics.offer(Specificity::Named, weight);
            }
            // The version is ignored: a client that names a newer one reads this one too.
            "text/plain" => text.offer(Specificity::Named, weight),
            _ => {}
        }
    }
    let is_better = match openmetrics.specificity {
        Some(Specificity::Named) => openmetrics.weight >= text.weight,
        _ => openmetrics.weight > text.weight,
    };
    if is_better && openmetrics.weight > 0 { ExpositionFormat::OpenMetrics } else { ExpositionFormat::Text }
}

/// The most specific range so far for one format; of equally specific ones the one with the highest weight.
#[derive(Default)]
struct BestRange {
    specificity: Option<Specificity>,
    weight: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Any,
    Type,
    Named,
}

impl BestRange {
    fn offer(&mut self, specificity: Specificity, weight: u16) {
        if (Some(specificity), weight) > (self.specificity, self.weight) {
            *self = Self { specificity: Some(specificity), weight };
        }
    }
}

/// One entry of a list.
struct MediaRange<'a> {
    name: &'a str,
    /// The parameter `version`.
    version: Option<&'a str>,
    /// The weight in thousandths.
    weight: u16,
}

fn ranges<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = MediaRange<'a>> {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(range)
}

/// Parses one entry. Quoted commas and semicolons are not supported; no relevant parameter contains them.
fn range(item: &str) -> Option<MediaRange<'_>> {
    let mut pieces = item.split(';');
    let mut range = MediaRange { name: pieces.next()?.trim(), version: None, weight: 1000 };
    for parameter in pieces.map(str::trim).filter(|piece| !piece.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("q") {
            range.weight = weight(value)?;
        } else if name.eq_ignore_ascii_case("version") {
            range.version = Some(value.trim_matches('"'));
        }
    }
    Some(range)
}

/// Parses a weight: `0.5` is 500. `None` if the text is not a weight.
fn weight(value: &str) -> Option<u16> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_str(value).unwrap());
        values.map(|value| (name.clone(), value)).collect()
    }

    fn encoding(values: &[&str]) -> ContentEncoding {
        wanted_encoding(&headers(&header::ACCEPT_ENCODING, values))
    }

    fn format(values: &[&str]) -> ExpositionFormat {
        wanted_format(&headers(&header::ACCEPT, values))
    }

    #[test]
    fn gzip_is_sent_when_it_is_accepted() {
        for value in [
            "gzip",
            "GZip",
            "x-gzip",
            "deflate, gzip;q=0.001",
            "br , gzip ; q=1.000",
            "*",
            "br;q=1, *;q=0.5",
            "identity;q=0.5, gzip",
            "identity;q=0.5,gzip;Q=0.5",
            "gzip;q=0.8, br;q=junk",
            "gzip;level=9",
        ] {
            assert_eq!(encoding(&[value]), ContentEncoding::Gzip, "{value}");
        }
        assert_eq!(encoding(&["br", "gzip"]), ContentEncoding::Gzip);
    }

    #[test]
    fn plain_bytes_are_sent_otherwise() {
        for value in [
            "",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, *",
            "*;q=0",
            "gzip;q=0.2, identity",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.0001",
            "gzip;q=-1",
            "gzip;q=",
            "gzip;q=.5",
            "gzip;level",
            "gzipped",
            "identity;q=0",
            ";;,,=",
        ] {
            assert_eq!(encoding(&[value]), ContentEncoding::Identity, "{value}");
        }
        assert_eq!(encoding(&[]), ContentEncoding::Identity);
    }

    /// The header of Prometheus 3.
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn openmetrics_is_sent_when_it_is_asked_for() {
        for value in [
            PROMETHEUS,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
            "text/plain, application/openmetrics-text",
            "application/openmetrics-text;q=0.5, text/plain;version=0.0.4;q=0.5, */*;q=0.5",
            "application/openmetrics-text, */*;q=0.1",
            "application/openmetrics-text;version=0.0.1, application/openmetrics-text;version=1.0.0;q=0.1",
            "application/*",
            "application/*, text/plain;q=0.9",
            "text/plain;q=0, */*;q=0.1",
            "application/openmetrics-text;q=0.1, text/*;q=0",
        ] {
            assert_eq!(format(&[value]), ExpositionFormat::OpenMetrics, "{value}");
        }
        assert_eq!(
            format(&["text/plain;q=0.5", "application/openmetrics-text"]),
            ExpositionFormat::OpenMetrics
        );
    }

    #[test]
    fn text_is_sent_otherwise() {
        for value in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
            "application/json",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0, */*",
            "application/openmetrics-text;q=0.5, text/plain",
            "application/openmetrics-text;q=0.5, */*",
            "application/openmetrics-text;q=junk",
            "application/*;q=0.5, */*",
            "text/plain;q=0, application/openmetrics-text;q=0",
            "*/*;q=0",
            ";;,,=/",
        ] {
            assert_eq!(format(&[value]), ExpositionFormat::Text, "{value}");
        }
        assert_eq!(format(&[]), ExpositionFormat::Text);
    }
}
