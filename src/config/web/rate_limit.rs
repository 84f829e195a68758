//! The section `rate_limit`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::reader::ValueReader;

/// A limit on requests: a token bucket of size `burst` that starts full and gets one token per `interval`.
/// A request takes a token, or is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Time after which another request is allowed; not 0.
    pub interval: Duration,
    /// Requests that are allowed at once.
    pub burst: NonZeroU32,
}

/// A longer interval is a mistake.
const LONGEST: Duration = Duration::from_hours(24);

const INTERVAL_ALLOWED: &str =
    "a duration up to 24h, such as 1s, 250ms or 1m30s, is allowed; 0 sets no limit";

/// Reads the section. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no limit is an answer, and so is a wrong one")]
pub(super) fn read(field: &ValueReader<'_>) -> Option<Option<RateLimit>> {
    let section = field.section()?;
    if section.is_empty() {
        return Some(None);
    }
    let interval = section.required("interval", INTERVAL_ALLOWED).and_then(|field| field.text(interval));
    let allowed = "a whole number from 1 is allowed";
    let off = interval == Some(Duration::ZERO);
    let burst = if off { section.optional("burst", allowed) } else { section.required("burst", allowed) };
    let burst =
        burst.map(|field| field.number(|text| text.parse::<u32>().ok().filter(|&burst| off || burst > 0)));
    section.finish();
    match (interval?, burst) {
        (_, Some(None)) => None,
        (Duration::ZERO, _) => Some(None),
        (interval, burst) => {
            let burst = NonZeroU32::new(burst??)?;
            Some(Some(RateLimit { interval, burst }))
        }
    }
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    match duration(text) {
        None => Err("is not a duration"),
        Some(interval) if interval > LONGEST => Err("is out of range"),
        Some(interval) => Ok(interval),
    }
}

/// Parses a duration in Go's format, by which the file format is defined: numbers with units, such as `1m30s`
/// or `1.5h`, or `0`. A number without a unit is nanoseconds in Go and an error here.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = &after[..after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len())];
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_format_of_go() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("1s", 1000),
            ("250ms", 250),
            ("1.5s", 1500),
            (".5s", 500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "s", "1d", "1 s", "-1s", "+1s", "1s1", "1..2s", ".s", "1e3s", "1S", "nans"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration(&format!("{}h", "9".repeat(400))), None);
    }
}
