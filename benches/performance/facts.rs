//! Reading release documents of 4 MiB each, and loading the facts file that is made of them. 100 documents by default.
//! The reference builds a tree of each document with `serde_json`.

use std::fmt::Write as _;

use jiff::Timestamp;
use mde_exporter::facts::msrc::{self, DocumentId};
use mde_exporter::facts::{Facts, FactsFile};

use crate::process;

/// The size of a document.
const BYTES: usize = 4 << 20;

/// The KBs of a month.
const KBS: usize = 60;

/// The products of a KB.
const PRODUCTS: usize = 8;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Rounds of which the fastest counts.
const ROUNDS: usize = 5;

pub(crate) fn run(documents: Option<u32>) {
    let documents = documents.unwrap_or(100) as usize;
    let ids: Vec<_> =
        (0..documents).map(|number| format!("{}-{}", 2016 + number / 12, MONTHS[number % 12])).collect();
    let mut file = FactsFile::default();
    let [mut ours, mut reference] = [0.0; 2];
    let mut read = 0;
    for (number, id) in ids.iter().enumerate() {
        let text = document(id, number);
        read += text.len() >> 10;
        let id = DocumentId::parse(id).expect("an id");
        let (seconds, document) = timed(|| msrc::read_document(text.as_bytes(), &id).expect("a document"));
        ours += seconds;
        file.put_document(document, Timestamp::UNIX_EPOCH).expect("a new document");
        let (seconds, tree) = timed(|| serde_json::from_str::<serde_json::Value>(&text).expect("JSON"));
        reference += seconds;
        drop(tree);
    }
    let mebibytes = f64::from(u32::try_from(read).expect("a number of kibibytes")) / 1024.0;
    println!("{documents} documents, {mebibytes:.0} MiB, per processor second");
    println!("  read as facts    {:>7.0} MiB", mebibytes / ours);
    println!("  read as a tree   {:>7.0} MiB", mebibytes / reference);
    let mut bytes = Vec::new();
    let (written, ()) = timed(|| file.write(&mut bytes).expect("memory"));
    drop(file);
    let load = || FactsFile::read(&bytes[..]).expect("a facts file").facts();
    let (loaded, facts) =
        (0..ROUNDS).map(|_| timed(load)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("rounds");
    println!("the facts file of {} KBs: {} KiB", facts.len(), bytes.len() / 1024);
    println!("  written in       {:>7.1} ms", written * 1e3);
    println!("  loaded in        {:>7.1} ms", loaded * 1e3);
    println!("  in memory        {:>7.2} MiB", copies(&facts));
}

/// The size of facts in memory: the growth of the process with each of some copies.
fn copies(facts: &Facts) -> f64 {
    const COPIES: u8 = 20;
    let before = process::own_mebibytes();
    let copies: Vec<Facts> = vec![facts.clone(); COPIES.into()];
    let after = process::own_mebibytes();
    drop(copies);
    (after - before) / f64::from(COPIES)
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = process::own_cpu_seconds();
    let result = work();
    (process::own_cpu_seconds() - before, result)
}

/// A document in the form of CVRF 3.0: each vulnerability has a fix for a third of the KBs, with statements for each
/// product, and texts that are no facts.
fn document(id: &str, number: usize) -> String {
    let mut text = format!(
        r#"{{"DocumentTitle":{{"Value":"{id}"}},"DocumentTracking":{{"Identification":{{"ID":{{"Value":"{id}"}}}},"RevisionHistory":[{{"Number":"12","Date":"2026-06-10T07:00:00"}}],"InitialReleaseDate":"2016-01-{:02}T07:00:00"}},"Vulnerability":["#,
        1 + number % 28
    );
    for cve in 0.. {
        if text.len() > BYTES {
            break;
        }
        text.push_str(if cve == 0 { "" } else { "," });
        vulnerability(&mut text, number, cve).expect("a string");
    }
    text.push_str("]}");
    text
}

fn vulnerability(text: &mut String, number: usize, cve: usize) -> std::fmt::Result {
    let note = "An attacker who successfully exploits the vulnerability can run code. ".repeat(12);
    write!(
        text,
        r#"{{"Title":{{"Value":"Vulnerability {cve}"}},"CVE":"CVE-{}-{}","Notes":[{{"Type":1,"Value":"{note}"}}],"RevisionHistory":[{{"Number":"1.0","Date":"2016-01-12T08:00:00"}}],"Threats":["#,
        2016 + number / 12,
        1000 + 1000 * (number % 12) + cve
    )?;
    let kbs = (0..KBS).filter(|kb| (kb + cve).is_multiple_of(3));
    let products = |kb: usize| (0..PRODUCTS).map(move |product| 10_000 + kb * PRODUCTS + product);
    for product in kbs.clone().flat_map(products) {
        let rating = ["Critical", "Important", "Important", "Moderate"][product % 4];
        write!(
            text,
            r#"{{"Description":{{"Value":"{rating}"}},"ProductID":["{product}"],"Type":3,"Date":"0001-01-01T00:00:00","DateSpecified":false}},"#
        )?;
    }
    text.push_str(
        r#"{"Description":{"Value":"Publicly Disclosed:No;Exploited:No"},"Type":1}],"CVSSScoreSets":["#,
    );
    for (place, product) in kbs.clone().flat_map(products).enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"BaseScore":7.{},"TemporalScore":6.1,"Vector":"CVSS:3.1/AV:L/AC:H/PR:L/UI:N/S:U/C:H/I:H/A:H/E:U/RL:O/RC:C","ProductID":["{product}"]}}"#,
            product % 10
        )?;
    }
    text.push_str(r#"],"Remediations":["#);
    for (place, kb) in kbs.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let products: Vec<String> = products(kb).map(|product| format!("\"{product}\"")).collect();
        let id = 5_000_000 + number * KBS + kb;
        write!(
            text,
            r#"{comma}{{"Description":{{"Value":"{id}"}},"URL":"https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{id}","Supercedence":"{}","ProductID":[{}],"Type":2,"RestartRequired":{{"Value":"Yes"}},"SubType":"Security Update","FixedBuild":"10.0.{}.{number}"}}"#,
            id - KBS,
            products.join(","),
            20_000 + kb
        )?;
    }
    text.push_str("]}");
    Ok(())
}
