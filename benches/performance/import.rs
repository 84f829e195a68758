//! The cost of reading the export: processor time and wall time, compared with a minimal Rust program that
//! decompresses and parses the same file without using the data, and with Python and `orjson`. 600,000 rows by
//! default; a second run with four times as many rows of the same machines shows the memory.
//!
//! The exporter's reader downloads the file over http as usual; the others read it from disk.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config;
use mde_exporter::defender::{Client, ExportOutcome, QuotaHistory, RetryPolicy};
use mde_exporter::http::ProxyMode;
use mde_exporter::model::MachineId;
use mde_exporter::self_metrics::SelfMetrics;
use serde::Deserialize;

use crate::polling;
use crate::process::{self, Cost};

const MACHINES: u32 = 20_000;

pub(crate) fn run(rows: Option<u32>) {
    let rows = rows.unwrap_or(600_000);
    let folder = tempfile::tempdir().expect("a folder");
    let (small, large) = (rows / 4, rows);
    for rows in [small, large] {
        let bytes = write_export(&folder.path().join("export.json.gz"), rows);
        println!("{rows} rows, {:.0} MB unpacked", mega(bytes));
        let (mut api, _) = polling::start_api(1, folder.path());
        let this = std::env::current_exe().expect("this program");
        let ours =
            process::cost(Command::new(&this).arg("read-export").arg(folder.path().join("mde_exporter.yml")));
        let ours = ours.expect("the exporter's reader ends well");
        api.kill().expect("the API can be stopped");
        api.wait().expect("the API ends");
        for name in ["secret.txt", "ca.pem", "mde_exporter.yml"] {
            std::fs::remove_file(folder.path().join(name)).expect("a file of the API");
        }
        say("mde_exporter, download included", &ours, bytes, None);
        if rows == small {
            continue;
        }
        let file = folder.path().join("export.json.gz");
        let minimal = process::cost(Command::new(&this).arg("read-minimally").arg(&file));
        say("minimal gunzip + serde_json", &minimal.expect("it ends well"), bytes, Some(&ours));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/performance/import.py");
        match process::cost(Command::new(process::python()).arg(script).arg(&file)) {
            Some(python) => say("Python gunzip + orjson", &python, bytes, Some(&ours)),
            None => println!("Python not measured: it needs python3 with orjson ($PYTHON names another one)"),
        }
    }
}

fn say(what: &str, cost: &Cost, bytes: usize, ours: Option<&Cost>) {
    let speed = |seconds: f64| mega(bytes) / seconds;
    let (by_cpu, by_wall) = (speed(cost.cpu), speed(cost.wall));
    print!("{what:<40}{by_cpu:>7.0} MB per CPU second {by_wall:>7.0} MB/s");
    match ours {
        None => println!(" {:>7.0} MiB at its highest", cost.peak_mebibytes),
        Some(ours) => {
            println!("   ours is {:.2} and {:.2} of it", cost.cpu / ours.cpu, cost.wall / ours.wall);
        }
    }
}

/// Writes an export with this number of rows and returns the size of its text.
fn write_export(path: &Path, rows: u32) -> usize {
    let mut file = GzEncoder::new(File::create(path).expect("a disk"), Compression::default());
    let (mut bytes, mut line) = (0, Vec::new());
    for row in 0..rows {
        line.clear();
        let machine = u64::from(row / (rows / MACHINES).max(1));
        let (kb, cve) = (5_060_000 + row % 10, 20_000 + row % 10_000);
        write!(
            line,
            "{{\"Id\":\"{machine:040x}_microsoft_windows_10_10.0.19045.6093_CVE-2025-{cve}\",\
             \"DeviceId\":\"{machine:040x}\",\"DeviceName\":\"ws-{machine:06}.corp.example\",\
             \"RbacGroupId\":140,\"RbacGroupName\":\"Clients Branch Offices\",\"OSPlatform\":\"Windows10\",\
             \"OSVersion\":\"10.0.19045.6093\",\"OSArchitecture\":\"x64\",\"SoftwareVendor\":\"microsoft\",\
             \"SoftwareName\":\"windows_10\",\"SoftwareVersion\":\"10.0.19045.6093\",\
             \"CveId\":\"CVE-2025-{cve}\",\"VulnerabilitySeverityLevel\":\"High\",\"CvssScore\":7.8,\
             \"ExploitabilityLevel\":\"NoExploit\",\"RecommendedSecurityUpdate\":\"September 2025 Security \
             Updates\",\"RecommendedSecurityUpdateId\":\"{kb}\",\"RecommendedSecurityUpdateUrl\":\
             \"https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{kb}\",\
             \"SecurityUpdateAvailable\":true,\"FirstSeenTimestamp\":\"2025-09-{:02} 17:30:12\",\
             \"LastSeenTimestamp\":\"2025-09-30 06:12:44.1234567\",\"DiskPaths\":[\"C:\\\\Windows\\\\System32\
             \\\\ntoskrnl.exe\"],\"RecommendationReference\":\"va-_-microsoft-_-windows_10\"}}",
            9 + row % 20
        )
        .expect("memory has room");
        line.push(b'\n');
        bytes += line.len();
        file.write_all(&line).expect("a disk");
    }
    file.finish().expect("a disk");
    bytes
}

/// The exporter's reader, as a poll uses it.
#[tokio::main]
pub(crate) async fn read(config: &str) {
    let config = config::load(Path::new(config)).expect("a good configuration").config;
    let tenant = &config.tenants[0];
    let metrics = Arc::new(SelfMetrics::new("bench")).tenant(&tenant.name);
    let (retry, random) = (RetryPolicy::default(), fastrand::Rng::with_seed(1));
    let history = QuotaHistory::default();
    let client = Client::new(tenant, ProxyMode::Direct, retry, random, history, Clock::system(), metrics);
    let scope: HashSet<_> = (0..MACHINES)
        .map(|machine| MachineId::parse(&format!("{machine:040x}")).expect("40 digits"))
        .collect();
    let exported = client.expect("good connection settings").export(Arc::new(scope), None).await;
    match exported.expect("a good export") {
        ExportOutcome::New(export) => {
            assert!(export.machines() > 0 && export.generated_at() < Timestamp::now());
        }
        other => panic!("{other:?}"),
    }
}

/// Decompresses, splits into lines, and parses the required fields, borrowed where possible.
pub(crate) fn read_minimally(file: &str) {
    let mut lines =
        BufReader::with_capacity(1 << 18, MultiGzDecoder::new(File::open(file).expect("the file")));
    let (mut line, mut rows) = (Vec::new(), 0_u32);
    while lines.read_until(b'\n', &mut line).expect("a whole file") > 0 {
        let row: Row<'_> = serde_json::from_slice(&line).expect("a row");
        assert!(!row.device_id.is_empty());
        std::hint::black_box(&row);
        rows += 1;
        line.clear();
    }
    assert!(rows > 0);
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "what is parsed is not looked at")]
struct Row<'a> {
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    #[serde(borrow)]
    software_vendor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    software_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cve_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vulnerability_severity_level: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recommended_security_update: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recommended_security_update_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    first_seen_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
