//! The text that the demo prints once it serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folder in which the package installs dashboards, rules and runbooks.
const PACKAGE_FOLDER: &str = "/usr/share/mde_exporter";

/// The content of the greeting.
pub(super) struct Greeting<'a> {
    pub(super) scheme: &'a str,
    pub(super) addresses: &'a [SocketAddr],
    pub(super) telemetry_path: &'a str,
    pub(super) api_url: &'a str,
    pub(super) machines: usize,
    /// The days of history.
    pub(super) days: i32,
    /// The folder with dashboards and rules; none if it is not found.
    pub(super) dashboards: Option<PathBuf>,
}

impl Greeting<'_> {
    /// The text.
    pub(super) fn text(&self) -> String {
        let Self { scheme, telemetry_path: path, api_url, machines, days, .. } = self;
        let hosts: Vec<_> = self.addresses.iter().map(reachable).collect();
        let target = hosts.first().map_or("", String::as_str);
        let pages: String = hosts.iter().map(|host| self.pages(host)).collect();
        let months = days / 30;
        format!(
            "Demo of mde_exporter. ALL DATA IS SIMULATED: no tenant is contacted.

{machines} simulated machines with {months} months of history. From now on time passes as usual, and updates are
installed faster than before, so that something changes in minutes.

{pages}  simulated API  {api_url}

Dashboards and rules: {}

Prometheus can scrape the demo with:

scrape_configs:
  - job_name: mde_exporter
    scrape_interval: 5s
    scheme: {scheme}
    metrics_path: {path}
    static_configs:
      - targets: [\"{target}\"]

Ctrl-C ends the demo.
",
            self.dashboards()
        )
    }

    fn pages(&self, host: &str) -> String {
        let Self { scheme, telemetry_path: path, .. } = self;
        [("overview", "/"), ("machines", "/machines"), ("updates", "/updates"), ("metrics", *path)]
            .map(|(name, path)| format!("  {name:14} {scheme}://{host}{path}\n"))
            .concat()
    }

    /// The places of dashboards and rules.
    fn dashboards(&self) -> String {
        match &self.dashboards {
            Some(folder) => {
                let folder = folder.display();
                format!(
                    "{folder}\n  import {folder}/*.json into Grafana\n  load {folder}/rules/*.yml into Prometheus"
                )
            }
            None => format!("in dashboards/ of the source code, in {PACKAGE_FOLDER}/ of the package"),
        }
    }
}

/// The folder with dashboards and rules: of a clone, or of the package.
pub(super) fn dashboards() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    // A binary that Cargo built is in a folder below the clone.
    let clones = program.iter().flat_map(|program| program.ancestors().skip(1));
    let clones = clones.map(|folder| folder.join("dashboards"));
    clones.chain([PathBuf::from(PACKAGE_FOLDER)]).find(|folder| has_dashboards(folder))
}

fn has_dashboards(folder: &Path) -> bool {
    folder.join("fleet.json").is_file() && folder.join("rules").is_dir()
}

/// The address under which a browser on this host reaches the exporter.
fn reachable(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_has_addresses_and_a_scrape_config() {
        let addresses = ["[::]:10633".parse().unwrap(), "127.0.0.1:9".parse().unwrap()];
        let greeting = Greeting {
            scheme: "http",
            addresses: &addresses,
            telemetry_path: "/metrics",
            api_url: "https://127.0.0.1:4433",
            machines: 200,
            days: 245,
            dashboards: Some(PACKAGE_FOLDER.into()),
        };
        insta::assert_snapshot!(greeting.text(), @r#"
        Demo of mde_exporter. ALL DATA IS SIMULATED: no tenant is contacted.

        200 simulated machines with 8 months of history. From now on time passes as usual, and updates are
        installed faster than before, so that something changes in minutes.

          overview       http://127.0.0.1:10633/
          machines       http://127.0.0.1:10633/machines
          updates        http://127.0.0.1:10633/updates
          metrics        http://127.0.0.1:10633/metrics
          overview       http://127.0.0.1:9/
          machines       http://127.0.0.1:9/machines
          updates        http://127.0.0.1:9/updates
          metrics        http://127.0.0.1:9/metrics
          simulated API  https://127.0.0.1:4433

        Dashboards and rules: /usr/share/mde_exporter
          import /usr/share/mde_exporter/*.json into Grafana
          load /usr/share/mde_exporter/rules/*.yml into Prometheus

        Prometheus can scrape the demo with:

        scrape_configs:
          - job_name: mde_exporter
            scrape_interval: 5s
            scheme: http
            metrics_path: /metrics
            static_configs:
              - targets: ["127.0.0.1:10633"]

        Ctrl-C ends the demo.
        "#);
        let unknown = Greeting { dashboards: None, ..greeting }.text();
        assert!(unknown.contains("in dashboards/ of the source code"), "{unknown}");
    }

    #[test]
    fn dashboards_of_the_clone_are_found() {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
        assert_eq!(dashboards(), Some(clone));
    }
}
