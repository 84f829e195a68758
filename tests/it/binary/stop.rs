//! Signals that stop the exporter, and the time until it stops.

use mde_simulator::{Endpoint, Fault, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

use crate::support::binary::{
    LOOPBACK, RunningExporter, command, configure, configure_contoso, entry, test_tenant,
};

/// The number of requests whose replies a client does not read. The replies are larger than all buffers
/// between client and exporter.
const UNREAD: usize = 2_000;

const REQUEST: &str = "GET /metrics HTTP/1.1\r\nhost: exporter\r\n\r\n";
const DOWNLOAD: &str = "GET /machines.csv HTTP/1.1\r\nhost: exporter\r\n\r\n";

#[tokio::test]
async fn sigterm_and_sigint_stop_the_exporter_cleanly() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    for (signal, name) in [("TERM", "signal=SIGTERM"), ("INT", "signal=SIGINT")] {
        let storage = format!("--storage.path={signal}");
        let arguments = ["run", LOOPBACK, &storage];
        let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
        running.line_with("poll finished").await;
        let output = running.stop(signal).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));
        assert!(
            output.stderr.contains(name) && output.stderr.ends_with("message=stopped"),
            "{}",
            output.stderr
        );
        assert!(!output.stderr.contains("did not finish in time"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn hanging_poll_and_idle_clients_do_not_delay_the_stop() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    test_tenant.sim.control().inject(Endpoint::MissingKbs, Fault::Hang, Times::Always);
    let running = RunningExporter::start(command(&test_tenant.folder, &["run", LOOPBACK])).await;
    test_tenant.sim.control().wait_for_requests(Endpoint::MissingKbs, 1).await;

    let silent = TcpStream::connect(running.addresses[0]).await.unwrap();
    let mut kept_alive = TcpStream::connect(running.addresses[0]).await.unwrap();
    kept_alive.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: exporter\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"healthy\n") {
        assert_ne!(kept_alive.read_buf(&mut reply).await.unwrap(), 0);
    }

    let output = running.stop("TERM").await;
    assert_eq!(output.code, Some(0));
    assert!(!output.stderr.contains("did not finish in time"), "no reply was in progress: {}", output.stderr);
    drop((silent, kept_alive));
}

/// Takes as long as the exporter waits for replies in progress.
#[tokio::test]
async fn unread_replies_and_endless_read_do_not_delay_the_stop() {
    let test_tenant = test_tenant(20).await;
    // A stand-in for a file system that does not respond.
    let pipe = test_tenant.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let contoso = entry(&test_tenant, "contoso", "client_secret_file: secret.txt", "");
    let fabrikam = entry(&test_tenant, "fabrikam", "client_secret_file: pipe", "");
    configure(&test_tenant, &[contoso, fabrikam]);
    let mut run = command(&test_tenant.folder, &["run", LOOPBACK]);
    // The read blocks a thread, and there may be only one by default.
    run.env("TOKIO_WORKER_THREADS", "4");
    let mut running = RunningExporter::start(run).await;
    running.line_with("poll finished").await;

    let mut deaf = TcpStream::connect(running.addresses[0]).await.unwrap();
    deaf.write_all(REQUEST.repeat(UNREAD).as_bytes()).await.unwrap();
    deaf.read_u8().await.unwrap();
    // A client with a small buffer, whose download stalls.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(running.addresses[0]).await.unwrap();
    stalled.write_all(DOWNLOAD.repeat(UNREAD).as_bytes()).await.unwrap();
    stalled.read_u8().await.unwrap();
    let output = running.stop("TERM").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    drop((deaf, stalled));
}

#[tokio::test]
async fn hundreds_of_hanging_clients_delay_no_scrape_and_no_stop() {
    let test_tenant = test_tenant(20).await;
    configure_contoso(&test_tenant);
    // A client that reads nothing would hold a scrape permit.
    let arguments = ["run", LOOPBACK, "--web.max-requests=0"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    let mut hanging = Vec::new();
    for sent in ["", "GET /metrics HTTP/1.1\r\nhost: ", &REQUEST.repeat(UNREAD)].repeat(150) {
        let mut client = TcpStream::connect(running.addresses[0]).await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        hanging.push(client);
    }
    assert_eq!(running.scrape().await.value("mde_up", &[("tenant", "contoso")]), Some(1.0));
    assert_eq!(running.stop("TERM").await.code, Some(0));
    drop(hanging);
}
