//! Self metrics in the format `OpenMetrics` 1.0.
//!
//! They come as text 0.0.4 from a library that knows no other format. What differs is little, and
//! their names are ours: a counter's family loses `_total`, quotes in help are escaped, bounds of
//! buckets are floats, and the exposition ends with `# EOF`.

/// The end of an exposition: `self_metrics`, which are text 0.0.4, and the mark of the end.
pub(super) fn end(self_metrics: &[u8]) -> Vec<u8> {
    let mut end = Vec::with_capacity(self_metrics.len() + self_metrics.len() / 16);
    for line in self_metrics.split_inclusive(|&byte| byte == b'\n') {
        if let Some(help) = line.strip_prefix(b"# HELP ") {
            end.extend_from_slice(b"# HELP ");
            let (name, rest) = name_and_rest(help);
            end.extend_from_slice(name);
            for piece in rest.split_inclusive(|&byte| byte == b'"') {
                match piece {
                    [plain @ .., b'"'] => end.extend_from_slice(&[plain, br#"\""#].concat()),
                    plain => end.extend_from_slice(plain),
                }
            }
        } else if let Some(kind) = line.strip_prefix(b"# TYPE ") {
            end.extend_from_slice(b"# TYPE ");
            let (name, rest) = name_and_rest(kind);
            end.extend_from_slice(name);
            end.extend_from_slice(rest);
        } else if let Some(after) = whole_bound(line) {
            end.extend_from_slice(&line[..after]);
            end.extend_from_slice(b".0");
            end.extend_from_slice(&line[after..]);
        } else {
            end.extend_from_slice(line);
        }
    }
    end.extend_from_slice(b"# EOF\n");
    end
}

/// The name of the family, which only a counter's has `_total` to lose, and what follows it.
fn name_and_rest(line: &[u8]) -> (&[u8], &[u8]) {
    let (name, rest) = line.split_at(line.iter().position(|&byte| byte == b' ').unwrap_or(line.len()));
    (name.strip_suffix(b"_total").unwrap_or(name), rest)
}

/// Where the bound of a bucket ends, when it is written as a whole number. The bound is the last
/// label of its line, so it is looked for from the end: other values may look like it.
fn whole_bound(line: &[u8]) -> Option<usize> {
    let end = line.len() - line.iter().rev().position(|&byte| byte == b'"')? - 1;
    let digits = line[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = &line[..end - digits];
    (digits > 0 && (before.ends_with(b"{le=\"") || before.ends_with(b",le=\""))).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_help_and_bounds_change_and_nothing_else_does() {
        let text = r#"# HELP a_total Says "a_total" \\ \n.
# TYPE a_total counter
a_total{le="1",x="7"} 1
# HELP g_totals Gauge.
# TYPE g_totals gauge
g_totals{x="\",le=\"1"} 1.5
g_totals{role="1"} 1.5
# HELP h Histogram.
# TYPE h histogram
h_bucket{x="{le=\"1\"}",le="0.5"} 1
h_bucket{x="le=\"1",le="10"} 1
h_bucket{le="+Inf"} 2
h_sum 3
"#;
        let expected = r#"# HELP a Says \"a_total\" \\ \n.
# TYPE a counter
a_total{le="1",x="7"} 1
# HELP g_totals Gauge.
# TYPE g_totals gauge
g_totals{x="\",le=\"1"} 1.5
g_totals{role="1"} 1.5
# HELP h Histogram.
# TYPE h histogram
h_bucket{x="{le=\"1\"}",le="0.5"} 1
h_bucket{x="le=\"1",le="10.0"} 1
h_bucket{le="+Inf"} 2
h_sum 3
# EOF
"#;
        assert_eq!(String::from_utf8(end(text.as_bytes())).unwrap(), expected);
        assert_eq!(end(b""), b"# EOF\n");
    }
}
