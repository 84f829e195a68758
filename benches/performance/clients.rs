//! The effect of hundreds of silent, slow or non-reading clients on a scraper, and their cost. 100,000 lines by
//! default.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use crate::process::Server;
use crate::scrape;

/// More connections than the exporter keeps, so that some of them are replaced.
const SLOW: usize = 600;

/// A request whose reply is not read, an incomplete head, and no request.
const SENT: [&str; 3] = ["GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: ", ""];

pub(crate) fn run(lines: Option<u32>) {
    let lines = lines.unwrap_or(100_000).to_string();
    let this = std::env::current_exe().expect("this program");
    for encoding in ["identity", "gzip"] {
        let server = Server::start(Command::new(&this).arg("serve-metrics").arg(&lines));
        let servers = [("mde_exporter", server)];
        let alone = scrape::in_turns(&servers, encoding).remove(0);
        let before = servers[0].1.mebibytes();
        let slow: Vec<TcpStream> = (0..SLOW).map(|number| connect(&servers[0].1.address, number)).collect();
        let beside = scrape::in_turns(&servers, encoding).remove(0);
        let after = servers[0].1.mebibytes();
        drop(slow);
        for (what, cost, memory) in [("alone", &alone, before), ("beside slow clients", &beside, after)] {
            let [cpu, median, worst] = [cost.cpu, cost.median, cost.worst].map(|seconds| seconds * 1000.0);
            println!(
                "  {encoding:<9}{what:<33}{cpu:>10.3} ms CPU {median:>10.3} ms p50 {worst:>10.3} ms p99 {memory:>8.1} MiB"
            );
        }
        println!(
            "  {encoding:<9}{:<33}{:>10.2} of the CPU {:>10.2} of p50 {:>10.2} of p99 {:>8.2} of the memory",
            format!("{SLOW} of them"),
            beside.cpu / alone.cpu,
            beside.median / alone.median,
            beside.worst / alone.worst,
            after / before
        );
    }
}

fn connect(address: &str, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a listening server");
    stream.write_all(SENT[number % SENT.len()].as_bytes()).expect("a connected socket");
    stream
}
