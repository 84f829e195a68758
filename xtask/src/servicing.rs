//! Renews the table of the ends of servicing that is built into the exporter.

use std::error::Error;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use mde_exporter::facts::FactsFile;
use mde_exporter::facts::folder::from_folder;
use mde_exporter::facts::servicing::ServicedProduct;
use serde_json::{Map, Value};

use crate::generated::GeneratedFile;

/// The file, relative to the root of the repository.
const PATH: &str = "src/facts/servicing_table/built_in.json";

/// The source of the data, which the facts file has no member for.
const SOURCE: &str = "https://endoflife.date/api/v1/products/windows and /windows-server";

/// The file out of the documents in `folder`, which were downloaded on the day `taken`.
///
/// # Errors
/// When a document is missing, cannot be used, or lacks builds.
pub(crate) fn file(folder: &Path, taken: Date) -> Result<GeneratedFile, Box<dyn Error>> {
    let made_at = Offset::UTC.to_timestamp(taken.at(0, 0, 0, 0))?;
    let mut read = FactsFile { made_at, ..FactsFile::default() };
    for file in from_folder(folder, &mut read, made_at)? {
        if let Some(problem) = file.problem {
            return Err(format!("{}: {problem}", file.name).into());
        }
    }
    let mut facts = FactsFile { made_at, servicing: read.servicing, ..FactsFile::default() };
    for product in ServicedProduct::ALL {
        let fetched = facts.servicing.get_mut(&product);
        let releases =
            &mut fetched.ok_or_else(|| format!("{}.json is missing", product.as_str()))?.data.releases;
        releases.retain(|release| release.build.is_some());
        if releases.is_empty() {
            return Err(format!("{}.json has no release with a build", product.as_str()).into());
        }
    }
    Ok(GeneratedFile { path: PATH.to_owned(), text: text(&facts, made_at)? })
}

/// The facts file as JSON with a line for each release, so that a change of the table can be reviewed.
fn text(facts: &FactsFile, made_at: Timestamp) -> Result<String, Box<dyn Error>> {
    let mut compressed = Vec::new();
    facts.write(&mut compressed)?;
    let mut json = String::new();
    GzDecoder::new(&compressed[..]).read_to_string(&mut json)?;
    let json: Value = serde_json::from_str(&json)?;
    let mut products = Vec::new();
    for product in json["servicing"].as_array().into_iter().flatten() {
        let mut head: Map<String, Value> = product.as_object().cloned().unwrap_or_default();
        let releases = head.remove("releases").unwrap_or_default();
        let releases: Vec<String> = releases.as_array().into_iter().flatten().map(line).collect();
        let head = Value::Object(head).to_string();
        let head = head.trim_end_matches('}');
        products.push(format!("{head},\"releases\":[\n{}\n]}}", releases.join(",\n")));
    }
    Ok(format!(
        "{{\n\"format\":{},\n\"version\":{},\n\"source\":\"{SOURCE}\",\n\"licence\":\"MIT\",\n\"made_at\":\"{made_at}\",\n\
         \"servicing\":[\n{}\n]\n}}\n",
        json["format"],
        json["version"],
        products.join(",\n")
    ))
}

/// One release on one line, beginning with its name.
fn line(release: &Value) -> String {
    let members = ["name", "build", "lts", "end", "extended_end"];
    let members: Vec<String> =
        members.iter().filter_map(|member| Some(format!("\"{member}\":{}", release.get(member)?))).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use jiff::civil::date;

    use super::*;

    const WINDOWS: &str = r#"{"last_modified": "2026-08-22T08:52:34+00:00", "result": {"name": "windows", "releases": [
        {"name": "11-24h2-e-lts", "isLts": true, "eolFrom": "2029-10-09", "latest": {"name": "10.0.26100"}},
        {"name": "10-22h2", "eolFrom": true, "eoesFrom": "2028-10-10", "latest": {"name": "10.0.19045"}},
        {"name": "announced", "latest": null}]}}"#;
    const SERVER: &str = r#"{"result": {"name": "windows-server", "releases": [
        {"name": "2022", "eolFrom": "2031-10-14", "latest": {"name": "10.0.20348"}}]}}"#;

    #[test]
    fn committed_table_has_the_generated_form() {
        let file = File::open(crate::generated::root().join(PATH)).unwrap();
        let facts = FactsFile::read(file).unwrap();
        let text = text(&facts, facts.made_at).unwrap();
        assert!(GeneratedFile { path: PATH.to_owned(), text }.is_current(), "run `cargo xtask servicing`");
    }

    #[test]
    fn table_has_a_line_for_each_release_with_a_build() {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            File::create(folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let file = || super::file(folder.path(), date(2026, 8, 22));
        write("windows.json", WINDOWS);
        assert_eq!(file().err().unwrap().to_string(), "windows-server.json is missing");
        write("windows-server.json", SERVER);
        let file = file().unwrap();
        assert!(FactsFile::read(file.text.as_bytes()).is_ok_and(|facts| facts.servicing.len() == 2));
        let lines: Vec<_> = file.text.lines().filter(|line| line.contains("\"name\"")).collect();
        assert_eq!(
            lines,
            [
                r#"{"name":"11-24h2-e-lts","build":26100,"lts":true,"end":"2029-10-09"},"#,
                r#"{"name":"10-22h2","build":19045,"end":true,"extended_end":"2028-10-10"}"#,
                r#"{"name":"2022","build":20348,"end":"2031-10-14"}"#,
            ]
        );
    }
}
