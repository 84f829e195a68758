//! The first page.

use super::*;
use crate::metrics::RenderOptions;
use crate::model::{Condition, Exception, MachineCondition, OwnLabel, PolicyPreset, TextPattern};
use crate::web::tests::rendered;

fn tagged(machine: Arc<Machine>, tag: &str) -> Arc<Machine> {
    let mut machine = Arc::unwrap_or_clone(machine);
    machine.facts.tags = Some([tag.to_owned()].into());
    Arc::new(machine)
}

fn machines() -> Vec<Arc<Machine>> {
    let mut phone = Arc::unwrap_or_clone(machine("a7", "phone", None));
    phone.facts.os_platform = "Android".to_owned();
    vec![
        tagged(machine("a1", "late.example", Some((3, 20))), "team:plant"),
        machine("a2", "later.example", Some((1, 40))),
        tagged(machine("a3", "soon.example", Some((2, 11))), "team:sales"),
        machine("a4", "fine.example", Some((0, 0))),
        machine("a5", "unread.example", None),
        machine("a6", "tomorrow.example", Some((1, 13))),
        Arc::new(phone),
    ]
}

async fn page_of(fleets: Vec<TenantFleet>, options: &RenderOptions, address: &str) -> String {
    let mut state = state(vec![]);
    state.published = rendered(fleets, options, Vec::new());
    let page = get(&state, address).await;
    assert_eq!(page.status, 200);
    page.text().to_owned()
}

fn options() -> RenderOptions {
    let exception = Exception {
        name: "plant".into(),
        reason: "CHG1".to_owned(),
        until: jiff::civil::date(2026, 3, 20),
        tenants: Vec::new(),
        conditions: Vec::new(),
        not: Vec::new(),
    };
    RenderOptions {
        policies: [policy("14d", 14), policy("45d", 45)].into(),
        exceptions: [exception].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        ..RenderOptions::default()
    }
}

#[tokio::test]
async fn page_of_one_tenant_answers_the_main_questions() {
    let without = RenderOptions { exceptions: [].into(), ..options() };
    let page = page_of(vec![fleet("contoso", machines())], &without, "/").await;
    insta::assert_snapshot!(body(&page));
}

#[tokio::test]
async fn tenants_that_need_attention_come_first() {
    let mut failing = fleet("failing", [machine("f", "", None)]);
    failing.status.last_poll = Some(ago(5));
    failing.status.last_error = Some("token refused (AADSTS7000222)".to_owned());
    let fine = fleet("fine", [machine("a", "", Some((0, 0)))]);
    let late = fleet("late", [machine("a", "", Some((1, 20))), machine("b", "", Some((0, 0)))]);
    let later = fleet("later", [machine("a", "", Some((1, 20)))]);
    let fleets = vec![fine, late, failing, later];
    let without = RenderOptions { exceptions: [].into(), ..options() };
    let page = page_of(fleets, &without, "/").await;
    assert_eq!(
        heading(&page),
        "2 machines in 2 of 4 tenants are past their deadline, 1 tenant cannot be read"
    );
    let table = page.split_once("id=\"tenants\"").unwrap().1;
    assert_eq!(between(table, "<a href=\"./?tenant=", "\""), ["failing", "later", "late", "fine"]);
    assert!(table.contains("<span class=\"bad\">token refused (AADSTS7000222)</span>"));
    assert!(page.contains("<p class=\"error\">Not read: failing. See the tenants below.</p>"));
}

#[tokio::test]
async fn headline_is_a_sentence_with_the_answer() {
    let late = || machine("a", "", Some((1, 20)));
    let fine = || machine("b", "", Some((0, 0)));
    let unread = || machine("c", "", None);
    let listed = TenantFleet { listed_at: Some(ago(1)), ..TenantFleet::new("t".into()) };
    let without = RenderOptions { exceptions: [].into(), ..options() };
    for (fleets, headline) in [
        (vec![TenantFleet::new("t".into())], "No machine list yet"),
        (vec![listed], "No machine is in scope: the selectors match none"),
        (vec![fleet("t", [unread()])], "No machine can be judged, 1 unknown"),
        (
            vec![fleet("t", [late(), fine()])],
            "1 of 2 judged machines is past its deadline, 0 cannot be judged",
        ),
        (vec![fleet("t", [fine()])], "The judged machine is within its deadlines, 0 cannot be judged"),
        (
            vec![fleet("t", [fine(), unread()]), fleet("u", [fine()])],
            "All 2 judged machines are within their deadlines, 1 cannot be judged",
        ),
    ] {
        let page = page_of(fleets, &without, "/").await;
        assert_eq!(heading(&page), headline);
        assert!(page.contains(&format!("<title>{headline} · mde_exporter</title>")));
    }
    let unpoliced = RenderOptions { policies: [].into(), ..without };
    let page = page_of(vec![fleet("t", [late(), fine()])], &unpoliced, "/").await;
    assert_eq!(heading(&page), "1 of 2 machines with data miss nothing and are still serviced");
}

#[tokio::test]
async fn exception_shows_what_it_covers_and_when_it_ends() {
    let page = page_of(vec![fleet("contoso", machines())], &options(), "/").await;
    let table = page.split_once("id=\"exceptions\"").unwrap().1;
    let covered = "<td data-label=\"Covers\"><a href=\"./machines?exception=plant\">4 machines</a></td>";
    assert!(table.contains(covered), "{table}");
    assert!(table.contains("<span class=\"day\">2026-03-20</span> <time class=\"warn\""), "{table}");
    assert_eq!(heading(&page), "All 5 judged machines are within their deadlines, 1 cannot be judged");
}

#[tokio::test]
async fn policies_that_cannot_judge_everything_are_named() {
    let policy = PolicyPreset::EssentialEightMl3.policy("essential <8>".into());
    let without = RenderOptions { policies: [policy].into(), ..RenderOptions::default() };
    let machines = [tagged(machine("1", "", Some((1, 3))), "lab")];
    let page = page_of(vec![fleet("contoso", machines)], &without, "/").await;
    assert_eq!(
        between(&page, "<p class=\"error\">", "</p>"),
        [
            "Policy essential &#60;8&#62; needs facts that were never loaded (msrc, kev): machines with missing \
             updates are unknown under it.",
            "No machine of contoso has the tag internet-facing, which the preset of policy essential &#60;8&#62; uses.",
        ]
    );
    assert!(page.contains("Unknown: the policy needs facts that were never loaded"));
}

#[tokio::test]
async fn machines_that_an_exception_covers_are_those_behind_its_link() {
    let lab = MachineCondition::Tags(vec![TextPattern::new("team:plant")]);
    let of_lab = Exception {
        name: "lab <1>".into(),
        conditions: vec![Condition::Machine(lab)],
        ..options().exceptions[0].clone()
    };
    let terms = RenderOptions { exceptions: [of_lab].into(), ..options() };
    let fleets = vec![fleet("contoso", machines()), fleet("fabrikam", machines())];
    let mut state = state(vec![]);
    state.published = rendered(fleets, &terms, Vec::new());
    let page = get(&state, "/").await;
    assert!(page.text().contains("<a href=\"./machines?exception=lab+%3C1%3E\">2 machines</a>"));
    let list = get(&state, "/machines?exception=lab+%3C1%3E").await;
    assert_eq!(heading(list.text()), "2 machines match, none of them past their deadline");
    assert_eq!(between(list.text(), "<span class=\"title id\">", "<"), ["a1", "a1"]);
    assert!(list.text().contains("exception: <bdi>lab &#60;1&#62;</bdi>"), "{}", list.text());
    let one = get(&state, "/machines?exception=lab+%3C1%3E&tenant=fabrikam&policy_state=accepted").await;
    assert_eq!(between(one.text(), "<span class=\"title id\">", "<"), ["a1"]);
}

#[tokio::test]
async fn digest_answers_the_questions_in_a_line_each() {
    let without = RenderOptions { exceptions: [].into(), ..options() };
    let lines = async |fleets: Vec<TenantFleet>, terms: &RenderOptions| {
        let page = page_of(fleets, terms, "/").await;
        let lines = between(&page, "<div><dt>", "</dd></div>");
        let text = |line: &&str| {
            let line = line.replace("</dt>", ": ");
            line.split('<')
                .map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text))
                .collect::<String>()
        };
        lines.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(vec![fleet("contoso", machines())], &without).await,
        [
            "Overdue the longest: later.example since 12\u{a0}Feb, late.example since 4\u{a0}Mar, of 2 machines",
            "Exploited and still missing: unknown without facts",
            "Becomes overdue: 1 machine on 11\u{a0}Mar, 2 machines within 7 days",
            "Not judged: 1 machine, 1 unsupported device: 1 never read, 1 without Windows",
        ]
    );
    let fine = vec![fleet("contoso", [machine("a", "", Some((0, 0)))])];
    assert_eq!(
        lines(fine.clone(), &without).await,
        [
            "Overdue the longest: no machine",
            "Exploited and still missing: unknown without facts",
            "Becomes overdue: no machine",
            "Not judged: no machine",
        ]
    );
    let unpoliced = RenderOptions { policies: [].into(), ..without };
    assert_eq!(lines(fine, &unpoliced).await.len(), 2);
}

#[tokio::test]
async fn overdue_machine_is_that_of_its_tenant() {
    let late = |tenant, missing| fleet(tenant, [machine("a", "twin", Some((missing, 20)))]);
    let without = RenderOptions { exceptions: [].into(), ..options() };
    let page = page_of(vec![late("one", 1), late("two", 3)], &without, "/").await;
    for link in ["\"./machines/a?tenant=one\"", "\"./machines/a?tenant=two&#38;policy_state=overdue\">3<"] {
        assert!(page.contains(link), "{link}\n{}", body(&page));
    }
}
