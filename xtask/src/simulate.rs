//! Serves a simulated Defender API, so that the exporter can run as a separate process against it.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
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
        let write = |name: &str, text: &str| File::create(folder.join(name))?.write_all(text.as_bytes());
        write("ca.pem", simulator.ca_pem())?;
        write("secret.txt", simulator.client_secret())?;
        let unfinished = folder.join("mde_exporter.yml.new");
        write("mde_exporter.yml.new", &configuration(&simulator))?;
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
