//! Serves a simulated Defender API, so that the exporter can run as a separate process against it.

use std::error::Error;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use mde_simulator::{Options, Simulator};

/// Serves the API with the documented quotas until the process is killed. Writes a configuration of the exporter
/// with the default quota and intervals to `folder`. The file `mde_exporter.yml` comes last: once it exists, the
/// API can be polled.
///
/// # Errors
/// When the simulator cannot be started or a file cannot be written.
pub(crate) fn serve(folder: &Path, machines: usize) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let options = Options { machines, ..Options::new(Timestamp::now) };
        let simulator = Simulator::start(options).await?;
        fs::create_dir_all(folder)?;
        fs::write(folder.join("ca.pem"), simulator.ca_pem())?;
        fs::write(folder.join("secret.txt"), simulator.client_secret())?;
        let unfinished = folder.join("mde_exporter.yml.new");
        fs::write(&unfinished, configuration(&simulator))?;
        fs::rename(unfinished, folder.join("mde_exporter.yml"))?;
        std::future::pending().await
    })
}

fn configuration(simulator: &Simulator) -> String {
    let (url, authority) = (simulator.api_url(), simulator.authority_url());
    let (tenant, client) = (simulator.tenant_id(), simulator.client_id());
    format!(
        "tenants:
  - name: simulated
    tenant_id: {tenant}
    client_id: {client}
    auth: {{ client_secret_file: secret.txt }}
    authority_url: {authority}
    api_url: {url}
    http: {{ ca_file: ca.pem }}
    machines: {{ all: true }}
"
    )
}
