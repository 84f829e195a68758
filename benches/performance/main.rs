//! Benchmarks of the exporter, each with a reference that is measured in the same run.
//! `cargo bench` runs all of them; `cargo bench --bench performance scrape 1000` runs one with a smaller size.
//!
//! Servers and clients run in separate processes of this program, so that their costs are counted separately.
//! References are Debian's `nginx-light` and `prometheus-pushgateway`, and a Python with `aiohttp` and `orjson`
//! (`$PYTHON`, or `python3`); a missing one is reported and skipped.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints what a clock says")]

mod bulk;
mod churn;
mod clients;
mod deadlines;
mod facts;
mod fleet;
mod http;
mod import;
mod pages;
mod polling;
mod process;
mod rebuild;
mod report;
mod scrape;
mod state;

/// A benchmark with an optional size.
type Run = fn(Option<u32>);

/// The benchmarks by name.
const ALL: [(&str, Run); 12] = [
    ("scrape", scrape::run),
    ("churn", churn::run),
    ("clients", clients::run),
    ("rebuild", rebuild::run),
    ("deadlines", deadlines::run),
    ("import", import::run),
    ("polling", polling::run),
    ("state", state::run),
    ("report", report::run),
    ("pages", pages::run),
    ("bulk", bulk::run),
    ("facts", facts::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => ALL.iter().for_each(|(name, run)| {
            println!("\n== {name}");
            run(None);
        }),
        // The helper processes of the benchmarks.
        ["serve-metrics", lines] => scrape::serve(number(lines), false),
        ["serve-changing-metrics", lines] => scrape::serve(number(lines), true),
        ["serve-pages", machines] => pages::serve(number(machines)),
        ["serve-api", machines] => polling::serve(number(machines)),
        ["poll", config, machines] => polling::poll(config, number(machines)),
        ["read-export", config] => import::read(config),
        ["read-minimally", file] => import::read_minimally(file),
        ["load-state", folder] => state::load_and_change(folder.as_ref()),
        ["simulate", machines] => bulk::simulate(number(machines)),
        [name, ref size @ ..] => match ALL.iter().find(|(known, _)| *known == name) {
            Some((_, run)) => run(size.first().map(|size| number(size))),
            None => panic!("there is no benchmark `{name}`; there are {:?}", ALL.map(|(name, _)| name)),
        },
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}
