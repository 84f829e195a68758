//! Notifications of the real binary to a service manager, as in `sd_notify(3)`.

use std::time::Duration;

use mde_simulator::{Endpoint, Fault, Times};
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::support::binary::{
    LOOPBACK, RunningExporter, command, configure, configure_contoso, entry, test_tenant,
};
use crate::support::tenant::TestTenant;

/// The service manager's end of the socket.
struct ServiceManager(UnixDatagram);

impl ServiceManager {
    /// Starts the binary under a manager that expects a notification within `watchdog`.
    async fn start(test_tenant: &TestTenant, watchdog: Option<Duration>) -> (Self, RunningExporter) {
        let path = test_tenant.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut run = command(&test_tenant.folder, &["run", LOOPBACK]);
        run.env("NOTIFY_SOCKET", &path).env("TOKIO_WORKER_THREADS", "4");
        if let Some(watchdog) = watchdog {
            run.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        (Self(socket), RunningExporter::start(run).await)
    }

    /// The lines of the next message.
    async fn message(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = tokio::time::timeout(Duration::from_mins(1), self.0.recv(&mut bytes)).await;
        let length = length.expect("a message arrives").unwrap();
        str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect()
    }

    /// The first message with a line that starts with `start`.
    async fn until(&self, start: &str) -> Vec<String> {
        loop {
            let message = self.message().await;
            if message.iter().any(|line| line.starts_with(start)) {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn manager_is_notified_of_ready_reload_and_stop() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let (manager, running) = ServiceManager::start(&test_tenant, None).await;
    manager.until("READY=1").await;
    let status = manager.until("STATUS=1 tenant, 3 machines, last poll ").await;
    assert!(status[0].ends_with(" UTC"), "{status:?}");

    running.signal("HUP").await;
    let reloading = manager.until("RELOADING=1").await;
    let since_boot = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since_boot.unwrap().parse::<u64>().unwrap() > 0);
    manager.until("READY=1").await;

    let stopped = running.stop("TERM");
    let (_, output) = tokio::join!(manager.until("STOPPING=1"), stopped);
    assert_eq!(output.code, Some(0));
}

#[tokio::test]
async fn watchdog_is_notified_while_a_poll_waits_for_the_api() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    test_tenant.sim.control().inject(Endpoint::MissingKbs, Fault::Hang, Times::Always);
    let (manager, running) = ServiceManager::start(&test_tenant, Some(Duration::from_secs(2))).await;
    test_tenant.sim.control().wait_for_requests(Endpoint::MissingKbs, 1).await;
    for _ in 0..4 {
        manager.until("WATCHDOG=1").await;
    }
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn watchdog_is_not_notified_while_a_poller_hangs() {
    let test_tenant = test_tenant(3).await;
    // A stand-in for a file system that does not respond.
    let pipe = test_tenant.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let contoso = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: pipe", "");
    configure(&test_tenant, &[contoso, fabrikam]);
    let limit = Duration::from_secs(1);
    let (manager, mut running) = ServiceManager::start(&test_tenant, Some(limit)).await;
    let line = running.line_with("poller of fabrikam").await;
    assert!(line.contains("task is not making progress"), "{line}");
    while manager.0.try_recv(&mut [0; 4096]).is_ok() {}
    let notified = tokio::time::timeout(3 * limit, manager.until("WATCHDOG=1")).await;
    assert!(notified.is_err());
    assert_eq!(running.stop("TERM").await.code, Some(0));
}
