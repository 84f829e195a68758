//! Listen addresses of the real binary: sockets of systemd, host names, and errors.

use std::net::{Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use crate::support::binary::{
    CommandOutput, LOOPBACK, RunningExporter, command, configure_contoso, finish, run, test_tenant,
};

/// The binary as systemd starts it, with this socket. A shell sets `LISTEN_PID`, as it knows its process id.
fn passed(folder: &TempDir, socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = in_shell(folder, "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0", arguments);
    command.stdin(Stdio::from(socket.into()));
    command
}

/// The binary, started by this shell command.
fn in_shell(folder: &TempDir, line: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_mde_exporter")]).args(arguments);
    command.current_dir(folder.path()).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn last_line(output: &CommandOutput) -> (Option<i32>, &str) {
    (output.code, output.stderr.lines().last().unwrap_or_default())
}

#[tokio::test]
async fn systemd_socket_replaces_the_listen_address() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) =
        (socket.local_addr().unwrap(), format!("--web.listen-address={}", socket.local_addr().unwrap()));
    let arguments = ["run", &taken, "--web.systemd-socket"];
    let running = RunningExporter::start(passed(&test_tenant.folder, socket, &arguments)).await;
    assert_eq!(running.addresses, [address]);
    assert_eq!(running.get("/-/healthy").await.0, StatusCode::OK);
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn systemd_unix_socket_is_served() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let path = test_tenant.folder.path().join("socket");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut running =
        RunningExporter::start_quiet(passed(&test_tenant.folder, socket, &["run", "--web.systemd-socket"]));
    let line = running.line_with("serving metrics").await;
    assert!(line.contains(&format!("address={}", path.display())), "{line}");
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET /-/healthy HTTP/1.0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.0 200 ") && reply.ends_with("healthy\n"), "{reply}");
    assert_eq!(running.stop("TERM").await.code, Some(0));
}

#[tokio::test]
async fn missing_systemd_socket_exits_with_1_and_an_error() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let expected =
        "error: cannot listen on `a socket of systemd`: systemd passed none; a socket unit is needed";
    let output = run(&test_tenant.folder, &["run", LOOPBACK, "--web.systemd-socket"]).await;
    assert_eq!(last_line(&output), (Some(1), expected));
    // Passed to another process.
    let line = "LISTEN_FDS=1 LISTEN_PID=1 exec \"$0\" \"$@\"";
    let output = finish(in_shell(&test_tenant.folder, line, &["run", "--web.systemd-socket"])).await;
    assert_eq!(last_line(&output), (Some(1), expected));
}

#[tokio::test]
async fn socket_of_another_type_exits_with_1() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = finish(passed(&test_tenant.folder, socket, &["run", "--web.systemd-socket"])).await;
    let expected = "error: cannot listen on `socket 1 of systemd`: fd 3 is not a valid tcp socket";
    assert_eq!(last_line(&output), (Some(1), expected));
}

#[tokio::test]
async fn host_name_is_served_on_each_of_its_addresses() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let addresses = ("localhost", 0).to_socket_addrs().unwrap();
    let addresses: std::collections::BTreeSet<_> = addresses.collect();
    let count = addresses.iter().filter(|address| std::net::TcpListener::bind(address).is_ok()).count();
    let arguments = ["run", "--web.listen-address=localhost:0"];
    let running =
        RunningExporter::start_with_addresses(command(&test_tenant.folder, &arguments), count).await;
    for &address in &running.addresses {
        assert!(
            [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)].contains(&address.ip())
        );
        assert_eq!(running.get_at(address, "/-/healthy").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn unavailable_address_among_several_is_named() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (address, why) in [
        (format!("localhost:{}", taken.port()), "Address already in use (os error 98)"),
        (format!(":{}", taken.port()), "Address already in use (os error 98)"),
        ("192.0.2.1:0".to_owned(), "Cannot assign requested address (os error 99)"),
    ] {
        let output =
            run(&test_tenant.folder, &["run", LOOPBACK, &format!("--web.listen-address={address}")]).await;
        let expected = format!("error: cannot listen on `{address}`: {why}");
        assert_eq!(last_line(&output), (Some(1), expected.as_str()));
    }
}

#[tokio::test]
async fn unknown_host_name_is_in_the_error() {
    let test_tenant = test_tenant(1).await;
    configure_contoso(&test_tenant);
    let output = run(&test_tenant.folder, &["run", "--web.listen-address=nobody.invalid:0"]).await;
    assert_eq!(output.code, Some(1));
    let error = "error: cannot listen on `nobody.invalid:0`: failed to lookup address information: ";
    assert!(last_line(&output).1.starts_with(error), "{}", output.stderr);
}

#[tokio::test]
async fn scrapes_succeed_when_clients_exhaust_file_descriptors() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let line = "ulimit -n 48; exec \"$0\" \"$@\"";
    let mut running = RunningExporter::start(in_shell(&test_tenant.folder, line, &["run", LOOPBACK])).await;
    running.line_with("poll finished").await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(running.addresses[0]).await.unwrap());
    }
    running.line_with("cannot accept a connection").await;
    for _ in 0..10 {
        running.scrape().await;
    }
    assert_eq!(running.stop("TERM").await.code, Some(0));
}
