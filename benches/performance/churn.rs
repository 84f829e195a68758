//! The latency of scrapes during rebuilds: median and 99th percentile, without any change and with continuous
//! change of everything. 100,000 lines by default.

use std::process::Command;

use crate::process::Server;
use crate::scrape;

pub(crate) fn run(lines: Option<u32>) {
    let lines = lines.unwrap_or(100_000).to_string();
    let this = std::env::current_exe().expect("this program");
    for encoding in ["identity", "gzip"] {
        // The servers run one after the other, because a rebuild would take processor time from the other one.
        let [quiet, busy] = ["serve-metrics", "serve-changing-metrics"].map(|serve| {
            let server = Server::start(Command::new(&this).arg(serve).arg(&lines));
            scrape::in_turns(&[("mde_exporter", server)], encoding).remove(0)
        });
        for (what, cost) in [("nothing changes", &quiet), ("everything changes all the time", &busy)] {
            let (median, worst) = (cost.median * 1000.0, cost.worst * 1000.0);
            println!("  {encoding:<9}{what:<33}{median:>10.3} ms p50 {worst:>10.3} ms p99");
        }
        println!("  {encoding:<9}{:<33}{:>10.2} of p99 (2 is the most)", "ratio", busy.worst / quiet.worst);
    }
}
