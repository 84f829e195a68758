//! Names, titles and products of the API that are longer than a label value may be.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mde_simulator::{MissingKb, machine_record};
use serde_json::json;

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::exposition::{Exposition, parse, parse_openmetrics};

const LABEL_BYTES: usize = 256;

fn id(number: u32) -> String {
    format!("{number:040x}")
}

/// Returns the cut form of a value of two-byte characters.
fn cut(value: &str) -> String {
    assert!(value.chars().all(|char| char.len_utf8() == 2) && value.len() > LABEL_BYTES);
    format!("{}…", value.chars().take(126).collect::<String>())
}

fn assert_bounded(exposition: &Exposition) {
    let mut cut_values = BTreeSet::new();
    for sample in exposition.families.iter().flat_map(|family| &family.samples) {
        for (label, value) in &sample.labels {
            assert!(value.len() <= LABEL_BYTES, "{}: {label} has {} bytes", sample.name, value.len());
            if value.ends_with('…') {
                cut_values.insert(label.as_str());
            }
        }
    }
    let expected = ["device_group", "machine", "os_platform", "os_version", "products", "title"];
    assert_eq!(cut_values, expected.into(), "every kind of value is cut");
}

#[tokio::test]
async fn long_values_are_cut_in_labels_and_whole_on_the_page() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let control = test_tenant.sim.control();
    let platform = format!("Windows{}", "11".repeat(200));
    // Two groups that are different, but whose labels are the same.
    let groups = [1, 2].map(|number| "é".repeat(200 + number));
    let names = [1, 2].map(|number| "ñ".repeat(1000 + number));
    for (number, (group, name)) in (1..).zip(groups.iter().zip(&names)) {
        let mut record = machine_record(&id(number), name, Timestamp::now());
        record["osPlatform"] = json!(platform);
        record["version"] = json!("ü".repeat(300));
        record["rbacGroupName"] = json!(group);
        control.add_machine(record);
    }
    let mut products: Vec<_> = (0..).map(|number| format!("product_{number:04}")).take(803).collect();
    products[802].push('x');
    assert_eq!(products.join(",").len(), 10_439);
    let update = MissingKb { products, ..MissingKb::new("5036892", &"ö".repeat(400)) };
    control.set_missing(&id(1), vec![update]);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &[LOOPBACK])).await;
    running.line_with("poll finished").await;
    running.scrape_of(3.0).await;

    let text = running.get("/metrics").await.1;
    let exposition = parse(&text).unwrap();
    assert_bounded(&exposition);
    let openmetrics = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = openmetrics.get(format!("http://{}/metrics", running.addresses[0]));
    let reply = request.header("accept", "application/openmetrics-text; version=1.0.0").send().await.unwrap();
    assert_bounded(&parse_openmetrics(&reply.text().await.unwrap()).unwrap());

    // The parser refuses duplicate series: both machines are in one group.
    let group = cut(&groups[0]);
    assert_eq!(group, cut(&groups[1]));
    assert_eq!(exposition.sum_by("mde_assessed_machines", "device_group")[&group], 2.0);
    assert_eq!(exposition.sum_by("mde_compliant_machines", "device_group")[&group], 1.0);
    assert_eq!(exposition.count_by("mde_machine_info", "machine")[&cut(&names[0])], 2.0);
    assert_eq!(exposition.count_by("mde_update_info", "title")[&cut(&"ö".repeat(400))], 1.0);

    let page = running.get("/machines").await.1;
    for value in names.iter().chain(&groups).chain([&platform]) {
        assert!(page.contains(value.as_str()), "not whole: {} bytes", value.len());
    }
}
