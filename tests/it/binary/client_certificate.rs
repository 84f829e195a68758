//! The metric of client certificates: from the start, and after the file has changed.

use jiff::Timestamp;

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure, entry, test_tenant};
use crate::support::certificates::client_certificate_valid;

const EXPIRY: &str = "mde_exporter_client_certificate_expiry_timestamp_seconds";

#[tokio::test]
async fn expiry_of_a_client_certificate_follows_its_file() {
    let test_tenant = test_tenant(1).await;
    let certificate = |days| {
        let (certificate, key) = client_certificate_valid(-1, days);
        test_tenant.sim.control().register_certificate(&certificate).unwrap();
        test_tenant.write("client.pem", &format!("{certificate}{key}"));
        // The certificate ends at midnight.
        let day = 24 * 3600;
        (Timestamp::now().as_second() / day + days) * day
    };
    let first = certificate(40);
    let auth = "client_certificate_file: client.pem";
    configure(&test_tenant, &[entry(&test_tenant, "contoso", auth, "")]);
    let mut running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    let served = running.scrape().await.value(EXPIRY, &[("tenant", "contoso")]);
    assert_eq!(served.map(|value| value.to_string()), Some(first.to_string()));

    let second = certificate(400);
    let seconds = f64::from(u32::try_from(second).unwrap());
    running.wait_for_value(EXPIRY, seconds).await;
    running.line_with("poll finished").await;
}
