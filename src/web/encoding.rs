//! Which encoding of a body the client asked for.
//!
//! RFC 9110, section 12.5.3: a list of codings with weights; weight 0 is a refusal, `*` stands for
//! codings that are not listed. What cannot be read is as if it was not there.

use axum::http::{HeaderMap, header};

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Gzip when it is accepted and nothing says that plain text is liked better. Plain text also when
    /// the client refuses it: an answer it may not like is better than none.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let mut weights = Weights::default();
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for item in value.to_str().unwrap_or_default().split(',') {
                weights.read(item);
            }
        }
        let gzip = weights.gzip.or(weights.any_other).unwrap_or(0);
        if gzip > 0 && gzip >= weights.identity.unwrap_or(0) { Self::Gzip } else { Self::Identity }
    }
}

/// Weights in thousandths.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    identity: Option<u16>,
    any_other: Option<u16>,
}

impl Weights {
    fn read(&mut self, item: &str) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let Some(weight) = weight(parameters) else { return };
        let coding = coding.trim();
        let slot = if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            &mut self.gzip
        } else if coding.eq_ignore_ascii_case("identity") {
            &mut self.identity
        } else if coding == "*" {
            &mut self.any_other
        } else {
            return;
        };
        *slot = Some(weight);
    }
}

/// `q=0.5` as 500; 1000 when there is no parameter; none when it is no weight.
fn weight(parameters: &str) -> Option<u16> {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameters.split_once('=')?;
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !name.trim().eq_ignore_ascii_case("q") || !digits {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
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

    fn wanted(values: &[&str]) -> Encoding {
        let values = values.iter().map(|value| HeaderValue::from_str(value).unwrap());
        Encoding::wanted(&values.map(|value| (header::ACCEPT_ENCODING, value)).collect())
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
        ] {
            assert_eq!(wanted(&[value]), Encoding::Gzip, "{value}");
        }
        assert_eq!(wanted(&["br", "gzip"]), Encoding::Gzip);
    }

    #[test]
    fn plain_text_is_sent_otherwise() {
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
            "gzip;level=9",
            "gzipped",
            "identity;q=0",
            ";;,,=",
        ] {
            assert_eq!(wanted(&[value]), Encoding::Identity, "{value}");
        }
        assert_eq!(wanted(&[]), Encoding::Identity);
    }
}
