//! The section `rate_limit`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::section::ValueReader;

/// A limit on requests: a bucket that holds `burst` tokens, starts full and gets one each `interval`.
/// A request takes one, or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Time in which one more request is let through; not 0.
    pub interval: Duration,
    /// Requests that are let through at once.
    pub burst: NonZeroU32,
}

/// Nobody limits the web server to less than a request a day.
const LONGEST: Duration = Duration::from_hours(24);

const INTERVAL_ALLOWED: &str =
    "a duration up to 24h, such as 1s, 250ms or 1m30s, is allowed; 0 sets no limit";

/// The outer `None` is a problem.
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

/// A duration as Go writes it, which is how this file's format is defined: numbers with units, `1m30s`
/// or `1.5h`, or `0`. Numbers without a unit would be nanoseconds there, which nobody means.
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
    fn durations_are_read_as_go_writes_them() {
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
