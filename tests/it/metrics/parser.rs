//! The exposition parser of the tests: accepted and rejected text.

use crate::support::exposition::{parse, parse_openmetrics};

const GAUGE: &str = "# HELP m Help.\n# TYPE m gauge\n";

#[test]
fn parser_accepts_the_format() {
    let text = concat!(
        "# HELP m A \\\\ and \\n.\n# TYPE m gauge\n",
        "m{a=\"x\\\"},\\\\\\n=é\",b=\"\"} 1.5\nm -2\n",
        "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1e-9\nh_count 1\n",
    );
    let parsed = parse(text).unwrap();
    assert_eq!(parsed.families[0].help, "A \\ and \n.");
    assert_eq!(parsed.value("m", &[("a", "x\"},\\\n=é")]), Some(1.5));
    assert_eq!(parsed.value("m", &[("a", "")]), Some(-2.0));
    assert_eq!(parsed.value("m", &[("a", "other")]), None);
    assert_eq!((parsed.count("m"), parsed.sum("h_count")), (2.0, 1.0));
}

#[test]
fn parser_rejects_deviations_from_the_format() {
    for (text, what) in [
        ("m 1\n".to_owned(), "before any family"),
        (GAUGE.to_owned(), "has no samples"),
        (format!("{GAUGE}m 1"), "no line feed"),
        (format!("{GAUGE}m 1\n\n"), "no value"),
        (format!("{GAUGE}m 1\nn 1\n"), "outside its family"),
        (format!("{GAUGE}m 1\n{GAUGE}m 2\n"), "repeated family"),
        (format!("{GAUGE}m{{a=\"1\"}} 1\nm{{a=\"1\"}} 2\n"), "duplicate series"),
        (format!("{GAUGE}m{{a=\"1\",a=\"2\"}} 1\n"), "repeated label"),
        (format!("{GAUGE}m{{a=\"\\t\"}} 1\n"), "bad escape"),
        (format!("{GAUGE}m{{a=\"1}} 1\n"), "quote not closed"),
        (format!("{GAUGE}m{{a=\"1\" 1\n"), "braces not closed"),
        (format!("{GAUGE}m{{}} 1\n"), "label without value"),
        (format!("{GAUGE}m{{1a=\"1\"}} 1\n"), "bad or repeated label"),
        (format!("{GAUGE}m NaN\n"), "bad value"),
        (format!("{GAUGE}m 1 1700000000\n"), "bad value"),
        ("# HELP m Help.\nm 1\n".to_owned(), "no TYPE"),
        ("# HELP m Help.\n# TYPE m untyped\nm 1\n".to_owned(), "unknown type"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(what), "{error}, expected {what}, for {text}");
    }
}

#[test]
fn openmetrics_parser_applies_the_differences() {
    let counter = "# HELP c A \\\"quote\\\".\n# TYPE c counter\nc_total{le=\"1.0\"} 1\n";
    let parsed = parse_openmetrics(&format!("{counter}# EOF\n")).unwrap();
    let same = "# HELP c_total A \"quote\".\n# TYPE c_total counter\nc_total{le=\"1\"} 1\n";
    assert_eq!(parsed, parse(same).unwrap());
    for (text, what) in [
        (counter.to_owned(), "no mark"),
        (format!("{same}# EOF\n"), "quote without"),
        ("# HELP c_total A.\n# TYPE c_total counter\nc_total 1\n# EOF\n".to_owned(), "outside its family"),
        (format!("{}# EOF\n", counter.replace("1.0", "1")), "as a float"),
        (format!("{}# EOF\n", counter.replace("1.0", "1e0")), "as a float"),
        (format!("{counter}# EOF\n# EOF\n"), "bad metric name"),
    ] {
        let error = parse_openmetrics(&text).expect_err(&text);
        assert!(error.contains(what), "{error}, expected {what}, for {text}");
    }
}
