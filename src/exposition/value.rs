//! Values of samples.

use std::fmt::{self, Display};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::ExpositionFormat;

/// Value of a sample. Numbers with decimals are scores and probabilities, so neither NaN nor an exponent can occur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A finite number.
    Number(f64),
    /// Seconds since the epoch, truncated to the millisecond.
    Time(Timestamp),
    /// Seconds, truncated to the millisecond.
    Duration(Duration),
}

/// Observed durations, counted by size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds in ascending order, each with the number of observations above the previous bound and
    /// up to this one. Not cumulative: the writer adds up.
    pub buckets: Vec<(Duration, u64)>,
    /// Observations above every bound.
    pub beyond: u64,
    /// Sum of all observations.
    pub sum: Duration,
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Count(u64::from(value))
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Time(time) => {
                let millis = time.as_millisecond();
                f.write_str(if millis < 0 { "-" } else { "" })?;
                seconds(f, millis.unsigned_abs().into())
            }
            Self::Duration(duration) => seconds(f, duration.as_millis()),
        }
    }
}

fn seconds(f: &mut fmt::Formatter<'_>, millis: u128) -> fmt::Result {
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    write!(f, "{seconds}")?;
    match fraction {
        0 => Ok(()),
        _ if fraction.is_multiple_of(100) => write!(f, ".{}", fraction / 100),
        _ if fraction.is_multiple_of(10) => write!(f, ".{:02}", fraction / 10),
        _ => write!(f, ".{fraction:03}"),
    }
}

/// Upper bound of a histogram bucket, in seconds: the label `le`.
#[derive(Clone, Copy, Debug)]
pub struct BucketBound {
    /// The bound; infinite for the last bucket.
    pub seconds: f64,
    /// `OpenMetrics` wants a float (`1.0`), text an integer where possible (`1`).
    pub format: ExpositionFormat,
}

impl Display for BucketBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, format } = self;
        match format {
            _ if seconds.is_infinite() => f.write_str("+Inf"),
            ExpositionFormat::Text => write!(f, "{seconds}"),
            ExpositionFormat::OpenMetrics => write!(f, "{seconds:?}"),
        }
    }
}
