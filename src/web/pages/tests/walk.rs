//! Every link of every page, and every number behind one.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::*;
use crate::metrics::RenderOptions;
use crate::model::{Condition, Exception, MachineCondition, OwnLabel, TextPattern};
use crate::web::WebState;
use crate::web::tests::rendered;

/// The number of machines of the first tenant: its list has several pages.
const MACHINES: u32 = 60;

/// Two tenants whose machines are in every state, under two policies, with an own label.
fn walked() -> WebState {
    let machines = |first: u32, count: u32| {
        (first..first + count).map(|number| {
            let missing = (number % 11 > 0).then_some((number % 4, i64::from(number % 50)));
            let name = if number == 7 { HOSTILE.to_owned() } else { format!("m-{number}.example") };
            let mut machine = Arc::unwrap_or_clone(machine(&format!("{number:04x}"), &name, missing));
            let team = ["team:one", "team:a & b", "lab"][number as usize % 3];
            machine.facts.tags = Some([team.to_owned()].into());
            machine.facts.last_seen = Some(ago(if number % 17 == 3 { 40 * 86_400 } else { 60 }));
            if number % 13 == 5 {
                machine.facts.os_platform = "Android".to_owned();
            }
            Arc::new(machine)
        })
    };
    let lab = MachineCondition::Tags(vec![TextPattern::new("lab")]);
    let exception = Exception {
        name: "lab & plant".into(),
        reason: "CHG1".to_owned(),
        until: jiff::civil::date(2026, 3, 20),
        tenants: Vec::new(),
        conditions: vec![Condition::Machine(lab)],
        not: Vec::new(),
    };
    let options = RenderOptions {
        policies: [policy("C++ hosts", 14), policy("14d|servers", 30)].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        exceptions: [exception].into(),
        ..RenderOptions::default()
    };
    let mut fleets = vec![fleet("contoso", machines(0, MACHINES)), fleet("A&B", machines(50, 12))];
    for fleet in &mut fleets {
        fleet.status.up = true;
        fleet.status.last_poll = Some(ago(60));
    }
    WebState { published: rendered(fleets, &options, Vec::new()), ..state(vec![]) }
}

/// The links of a page: their targets, resolved, and their texts.
fn links(page: &str, at: &Url) -> Vec<(Url, String)> {
    let links = page.split("<a ").skip(1).filter_map(|rest| {
        let (tag, text) = rest.split_once('>')?;
        let href = between(tag, "href=\"", "\"").first()?.replace("&#38;", "&").replace("&#39;", "'");
        let text = text.split("</a>").next()?;
        let titles = between(text, "<title>", "</title>");
        let label =
            between(tag, "aria-label=\"", "\"").first().or(titles.first()).map(|label| (*label).to_owned());
        let text = if text.contains('<') { label.unwrap_or_default() } else { text.to_owned() };
        Some((at.join(&href).unwrap(), text))
    });
    links.filter(|(target, _)| target.fragment().is_none()).collect()
}

fn address(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// The number in the text of a link, if the text says how many rows are behind it.
fn number(text: &str) -> Option<usize> {
    let text = text.rsplit(": ").next()?;
    let (digits, words): (String, String) = text.chars().partition(char::is_ascii_digit);
    let words = words.replace(',', "");
    let is_words = words.chars().all(|character| character.is_ascii_lowercase() || character == ' ');
    let is_at_an_end = text.starts_with(|first: char| first.is_ascii_digit())
        || text.rsplit(' ').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()));
    (is_words && is_at_an_end).then(|| digits.parse().ok()).flatten()
}

/// The number of rows behind an address: those of its download. Rows without a KB on the page of an object are those
/// of a machine that misses nothing.
async fn rows(state: &WebState, target: &Url) -> usize {
    let mut download = target.clone();
    download.set_path(&format!("{}.csv", target.path()));
    let answer = get(state, &address(&download)).await;
    assert_eq!(answer.status, 200, "{download}");
    let mut lines = answer.text().lines();
    let header: Vec<_> = lines.next().unwrap().split(',').collect();
    let kb = header.iter().position(|name| *name == "kb").filter(|_| target.path().matches('/').count() > 1);
    lines.filter(|line| kb.is_none_or(|kb| line.split(',').nth(kb).is_some_and(|kb| !kb.is_empty()))).count()
}

#[tokio::test]
async fn every_link_leads_somewhere_and_every_number_to_its_rows() {
    let state = walked();
    let start = Url::parse("http://exporter.example/").unwrap();
    let mut waiting = vec![start.clone()];
    let mut seen: BTreeSet<Url> = waiting.iter().cloned().collect();
    let mut counted: BTreeMap<Url, usize> = BTreeMap::new();
    let mut numbers = 0;
    while let Some(at) = waiting.pop() {
        let page = get(&state, &address(&at)).await;
        assert_eq!(page.status, 200, "{at}: {}", page.text());
        if !page.header(CONTENT_TYPE).starts_with("text/html") {
            continue;
        }
        for (target, text) in links(page.text(), &at) {
            assert_eq!(target.host_str(), start.host_str(), "{at}: {text}");
            if let Some(number) = number(&text) {
                let rows = match counted.get(&target) {
                    Some(&rows) => rows,
                    None => rows(&state, &target).await,
                };
                counted.insert(target.clone(), rows);
                assert_eq!(number, rows, "{text:?} on {at} leads to {target}");
                numbers += 1;
            }
            // Lists are the same under every order and whether they refresh or not.
            let is_new = !target.query_pairs().any(|(name, _)| name == "sort" || name == "refresh");
            let depth = target.query_pairs().count();
            if is_new && depth <= 3 && seen.insert(target.clone()) {
                waiting.push(target);
            }
        }
    }
    assert!(seen.len() > 200 && numbers > 1000, "{} pages, {numbers} numbers", seen.len());
}
