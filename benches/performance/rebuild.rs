//! The cost of a rebuild of the exposition: processor time, including compression, after a change of everything,
//! of one machine, and of nothing. 160,000 lines by default.

use std::sync::Arc;

use mde_exporter::facts::Facts;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::metrics::{RenderOptions, Renderer};

use crate::{fleet, http, process};

const ROUNDS: u32 = 15;

pub(crate) fn run(lines: Option<u32>) {
    let machines = lines.unwrap_or(160_000) / fleet::LINES_PER_MACHINE;
    let options = RenderOptions { freshness: fleet::FRESHNESS, ..RenderOptions::default() };
    let mut fleet = fleet::fleet(machines);
    let now = fleet::now();
    let mut renderer = Renderer::default();
    let body = renderer.render(&[Arc::new(fleet.clone())], now, &options, &Facts::default());
    let text = body.plain(b"");
    let count = http::lines(&text);
    println!("{count} lines of {machines} machines, processor time of a rebuild (least, median, most)");

    let mut render = |fleet: &TenantFleet| {
        let fleets = [Arc::new(fleet.clone())];
        let before = process::own_cpu_seconds();
        let body = renderer.render(&fleets, now, &options, &Facts::default());
        let took = process::own_cpu_seconds() - before;
        drop(body);
        took
    };
    let later = |fleet: &mut TenantFleet, round: u32, machines: usize| {
        for machine in fleet.machines.values_mut().take(machines) {
            fleet::change(Arc::make_mut(machine), round);
        }
    };
    for (what, machines) in
        [("everything changed", usize::MAX), ("one machine changed", 1), ("nothing changed", 0)]
    {
        let took = (0..ROUNDS).map(|round| {
            later(&mut fleet, round, machines);
            render(&fleet)
        });
        let mut took: Vec<f64> = took.collect();
        took.sort_by(f64::total_cmp);
        let [least, median, most] = [0, took.len() / 2, took.len() - 1].map(|place| took[place] * 1000.0);
        println!("  {what:<24}{least:>9.1} ms {median:>9.1} ms {most:>9.1} ms");
    }
}
