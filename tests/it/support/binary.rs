//! The real binary against a simulator: its folder, its process, and its output.
//!
//! The environment of the process is empty unless a test sets variables, so that no proxy of the
//! host is used. Every wait is for a state and ends after [`TIME_LIMIT`].

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use mde_simulator::{Options, Realism, Simulator};
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::exposition::{self, Exposition};
use super::tenant::TestTenant;

/// Longer than any step takes, even on a busy host.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// The time within which a signal ends the exporter.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The listen address of tests that are not about addresses.
pub(crate) const LOOPBACK: &str = "--web.listen-address=127.0.0.1:0";

/// A simulator of plain machines, and a folder with the files that its tenant needs.
pub(crate) async fn test_tenant(machines: usize) -> TestTenant {
    test_tenant_with(machines, Realism::Plain).await
}

/// Like [`test_tenant`], with a choice of realism. Realistic replies take time, because a machine that is not
/// found is fetched again later.
pub(crate) async fn test_tenant_with(machines: usize, realism: Realism) -> TestTenant {
    let options = Options {
        machines,
        realism,
        quota_per_minute: None,
        quota_per_hour: None,
        ..Options::new(Timestamp::now)
    };
    let sim = Simulator::start(options).await.unwrap();
    let test_tenant = TestTenant { sim, folder: TempDir::new().unwrap() };
    test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
    test_tenant.write("secret.txt", test_tenant.sim.client_secret());
    test_tenant
}

/// The simulator's tenant as an entry of `tenants`.
pub(crate) fn entry(test_tenant: &TestTenant, name: &str, auth: &str, http: &str) -> String {
    let (sim, url) = (&test_tenant.sim, test_tenant.sim.api_url());
    let (tenant, client) = (sim.tenant_id(), sim.client_id());
    format!(
        "  - name: {name}
    tenant_id: {tenant}
    client_id: {client}
    auth: {{ {auth} }}
    authority_url: {url}
    api_url: {url}
    http: {{ ca_file: ca.pem{http} }}
    machines: {{ all: true }}
    quota: {{ per_minute: 60000, per_hour: 3600000 }}
"
    )
}

/// Writes a configuration with these entries, under the default file name. The interval is long enough for
/// one poll per test, and short enough for short pauses within a poll.
pub(crate) fn configure(test_tenant: &TestTenant, entries: &[String]) {
    let text = format!("tenants:\n{}poll: {{ interval: 100s }}\n", entries.concat());
    test_tenant.write("mde_exporter.yml", &text);
}

/// Writes a configuration with only the simulator's tenant.
pub(crate) fn configure_contoso(test_tenant: &TestTenant) {
    configure(test_tenant, &[entry(test_tenant, "contoso", "client_secret_file: secret.txt", "")]);
}

/// A command that runs the binary in `folder`.
pub(crate) fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde_exporter"));
    command.args(arguments).current_dir(folder.path()).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command until it ends.
pub(crate) async fn finish(mut command: Command) -> CommandOutput {
    let output =
        tokio::time::timeout(TIME_LIMIT, command.output()).await.expect("the command ends by itself");
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs the binary in `folder` until it ends.
pub(crate) async fn run(folder: &TempDir, arguments: &[&str]) -> CommandOutput {
    finish(command(folder, arguments)).await
}

/// A running exporter.
pub(crate) struct RunningExporter {
    child: Child,
    stdout: ChildStdout,
    stderr: Lines<BufReader<ChildStderr>>,
    /// Lines of stderr so far.
    pub(crate) log: Vec<String>,
    client: reqwest::Client,
    /// The listen addresses, in the order of the flags.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl RunningExporter {
    /// Starts a command that serves, and waits until it logs the address.
    pub(crate) async fn start(command: Command) -> Self {
        Self::start_with_addresses(command, 1).await
    }

    pub(crate) async fn start_with_addresses(command: Command, count: usize) -> Self {
        let mut running = Self::start_quiet(command);
        while running.addresses.len() < count {
            let line = running.line_with("serving metrics").await;
            let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
            running.addresses.push(address.unwrap().trim_matches('"').parse().expect(&line));
        }
        running
    }

    /// Starts a command without a wait.
    pub(crate) fn start_quiet(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        // One connection for each request: tests open kept-alive connections themselves.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let stderr = BufReader::new(stderr).lines();
        Self { child, stdout, stderr, log: Vec::new(), client, addresses: Vec::new() }
    }

    /// The next line of stderr that contains `text`.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = tokio::time::timeout(TIME_LIMIT, self.stderr.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no `{text}` in {:#?}", self.log)).unwrap();
            let line = line.unwrap_or_else(|| panic!("no `{text}` in {:#?}", self.log));
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Reads stdout until it contains `text`.
    pub(crate) async fn stdout_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            let more = tokio::time::timeout(TIME_LIMIT, self.stdout.read_buf(&mut read)).await;
            assert_ne!(more.unwrap().unwrap(), 0, "{}", String::from_utf8_lossy(&read));
        }
        String::from_utf8(read).unwrap()
    }

    /// GET at the first address.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        self.get_at(self.addresses[0], path).await
    }

    /// POST at the first address, without a body.
    pub(crate) async fn post(&self, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.addresses[0]);
        let reply = self.client.post(url).timeout(TIME_LIMIT).send().await.unwrap();
        (reply.status(), reply.text().await.unwrap())
    }

    pub(crate) async fn get_at(&self, address: SocketAddr, path: &str) -> (StatusCode, String) {
        let reply =
            self.client.get(format!("http://{address}{path}")).timeout(TIME_LIMIT).send().await.unwrap();
        (reply.status(), reply.text().await.unwrap())
    }

    /// Repeats a GET until its status is `wanted`, and returns the body of that reply.
    pub(crate) async fn wait_for_status(&self, path: &str, wanted: StatusCode) -> String {
        let requesting = async {
            loop {
                let (status, body) = self.get(path).await;
                if status == wanted {
                    return body;
                }
            }
        };
        tokio::time::timeout(TIME_LIMIT, requesting)
            .await
            .unwrap_or_else(|_| panic!("{path} is never {wanted}"))
    }

    /// Scrapes until `name` has samples and each of them is `wanted`.
    pub(crate) async fn wait_for_value(&self, name: &str, wanted: f64) {
        let scraping = async {
            loop {
                let scrape = self.scrape().await;
                if scrape.count(name) > 0.0 && scrape.samples(name).all(|sample| sample.value == wanted) {
                    return;
                }
            }
        };
        let scraped = tokio::time::timeout(TIME_LIMIT, scraping).await;
        scraped.unwrap_or_else(|_| panic!("{name} is never {wanted}"));
    }

    /// Scrapes until `is_wanted` accepts the result; `wanted` describes it.
    pub(crate) async fn wait_for_scrape(&self, wanted: &str, is_wanted: impl Fn(&Exposition) -> bool) {
        let scraping = async { while !is_wanted(&self.scrape().await) {} };
        let scraped = tokio::time::timeout(TIME_LIMIT, scraping).await;
        scraped.unwrap_or_else(|_| panic!("no scrape has {wanted}"));
    }

    /// Scrapes until data of this number of machines is served.
    pub(crate) async fn scrape_of(&self, machines: f64) -> Exposition {
        let scraping = async {
            loop {
                let scrape = self.scrape().await;
                if scrape.count("mde_machine_last_success_timestamp_seconds") == machines {
                    return scrape;
                }
            }
        };
        tokio::time::timeout(TIME_LIMIT, scraping).await.expect("the machines are read")
    }

    /// Scrapes and parses.
    pub(crate) async fn scrape(&self) -> Exposition {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        exposition::parse(&body).unwrap()
    }

    /// Sends a signal, named as for `kill`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the exporter runs").to_string();
        let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Kills the exporter, as the kernel does when memory runs out.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal that must end the exporter in time, and returns its whole output.
    pub(crate) async fn stop(mut self, signal: &str) -> CommandOutput {
        self.signal(signal).await;
        let status = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("{signal} does not end the exporter: {:#?}", self.log));
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).await.unwrap();
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            self.log.push(line);
        }
        CommandOutput { code: status.unwrap().code(), stdout, stderr: self.log.join("\n") }
    }
}
