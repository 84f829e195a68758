//! The text of a log line. Both formats have the same keys and the same values: `ts`, `level`, `message` and
//! the fields of the event, in the order in which the code names them.

use std::error::Error;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{LogFormat, level};

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line { format: *self, text: &mut writer, is_empty: true, result: Ok(()) };
        line.text("ts", &time);
        line.text("level", level(event).as_str());
        event.record(&mut line);
        line.end()
    }
}

/// A line that is being written.
struct Line<'a> {
    format: LogFormat,
    text: &'a mut dyn fmt::Write,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.field(key, |line| match line.format {
            LogFormat::Json => json_text(line.text, value),
            LogFormat::Logfmt if needs_quotes(value) => quoted(line.text, value),
            LogFormat::Logfmt => line.text.write_str(value),
        });
    }

    fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.field(key, |line| write!(line.text, "{value}"));
    }

    fn field(&mut self, key: &str, write_value: impl FnOnce(&mut Self) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.key(key).and_then(|()| write_value(self));
        }
    }

    fn key(&mut self, key: &str) -> fmt::Result {
        // A field that is named like a keyword of Rust.
        let key = key.strip_prefix("r#").unwrap_or(key);
        let is_first = std::mem::take(&mut self.is_empty);
        match self.format {
            LogFormat::Json => {
                self.text.write_char(if is_first { '{' } else { ',' })?;
                json_text(self.text, key)?;
                self.text.write_char(':')
            }
            LogFormat::Logfmt => {
                let separator = if is_first { "" } else { " " };
                write!(self.text, "{separator}{key}=")
            }
        }
    }

    fn end(self) -> fmt::Result {
        self.result?;
        self.text.write_str(match self.format {
            LogFormat::Json => "}\n",
            LogFormat::Logfmt => "\n",
        })
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field.name(), &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field.name(), value);
        } else {
            self.text(field.name(), &value.to_string());
        }
    }
}

fn json_text(text: &mut dyn fmt::Write, value: &str) -> fmt::Result {
    text.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.chars().any(|char| matches!(char, ' ' | '=' | '"') || is_unprintable(char))
}

/// Writes a quoted value. Only what could end the value or the line, or change the text on a terminal, is
/// escaped, with the escapes of JSON.
fn quoted(text: &mut dyn fmt::Write, value: &str) -> fmt::Result {
    text.write_char('"')?;
    for char in value.chars() {
        match char {
            '"' => text.write_str("\\\"")?,
            '\\' => text.write_str("\\\\")?,
            '\n' => text.write_str("\\n")?,
            '\r' => text.write_str("\\r")?,
            '\t' => text.write_str("\\t")?,
            _ if is_unprintable(char) => write!(text, "\\u{:04x}", u32::from(char))?,
            _ => text.write_char(char)?,
        }
    }
    text.write_char('"')
}

/// Returns whether a character controls a terminal, the direction of text or the line.
fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::logging::layer;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The line of one event, without the time.
    fn line(format: LogFormat, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = layer(format, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let separator = if format == LogFormat::Json { ',' } else { ' ' };
        let (time, rest) = text.split_once(separator).unwrap();
        let time = time.trim_start_matches("{\"ts\":\"").trim_start_matches("ts=").trim_end_matches('"');
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        rest.to_owned()
    }

    #[test]
    fn both_formats_have_the_same_keys_and_values() {
        let log = || {
            let (none, millis) = (None::<&str>, std::time::Duration::from_millis(5).as_millis());
            tracing::warn!(
                tenant = "contoso",
                none,
                count = 3_u64,
                up = false,
                share = 0.5,
                millis,
                "it ends"
            );
        };
        assert_eq!(
            line(LogFormat::Logfmt, log),
            "level=warn message=\"it ends\" tenant=contoso count=3 up=false share=0.5 millis=5\n"
        );
        assert_eq!(
            line(LogFormat::Json, log),
            "\"level\":\"warn\",\"message\":\"it ends\",\"tenant\":\"contoso\",\"count\":3,\"up\":false,\
             \"share\":0.5,\"millis\":5}\n"
        );
    }

    #[test]
    fn apostrophes_and_letters_of_any_script_are_not_escaped() {
        let log = || tracing::info!(error = %"app 'x' of Jürgen's été", path = r"C:\data", "refused");
        assert_eq!(
            line(LogFormat::Logfmt, log),
            "level=info message=refused error=\"app 'x' of Jürgen's été\" path=C:\\data\n"
        );
    }

    #[test]
    fn hostile_values_stay_within_their_field_and_line() {
        let log = || tracing::info!(empty = "", name = "a\" level=error\nb\\\u{1b}[2J\u{202e}c", "seen");
        assert_eq!(
            line(LogFormat::Logfmt, log),
            "level=info message=seen empty=\"\" name=\"a\\\" level=error\\nb\\\\\\u001b[2J\\u202ec\"\n"
        );
        let json = line(LogFormat::Json, log);
        assert_eq!(json.lines().count(), 1);
        assert!(json.contains(r#""name":"a\" level=error\nb\\\u001b[2J"#), "{json}");
    }
}
