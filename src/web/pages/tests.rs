//! The pages as they are served.

mod lists;
mod overview;
mod query;
mod selection;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, REFRESH,
    X_CONTENT_TYPE_OPTIONS,
};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::fleet::{
    Assessment, ExportVersion, Machine, MachineFacts, MissingUpdate, ReportedUpdate, TenantFleet,
};
use crate::model::{DeadlineStart, KbId, MachineId, Policy, Source};
use crate::self_metrics::{QuotaWindow, TenantStatus};
use crate::web::tests::{HOSTILE, ago, get, polled, published, published_with, state};

/// A machine that was read an hour ago with `missing` = (number of missing updates, days since first seen); none if it
/// was never read.
pub(super) fn machine(id: &str, name: &str, missing: Option<(u32, i64)>) -> Arc<Machine> {
    let facts = MachineFacts {
        name: name.to_owned(),
        os_platform: "Windows11".to_owned(),
        device_group: "Clients".to_owned(),
        ..MachineFacts::unlisted(MachineId::parse(id).unwrap())
    };
    let update = |number| ReportedUpdate {
        kb: KbId::new(5_000_000 + number).unwrap(),
        facts: Arc::default(),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    let update_since =
        |number, days| MissingUpdate { update: update(number), first_seen: ago(days * 86_400), chain: None };
    let missing_updates = |(count, days)| (0..count).map(|number| update_since(number, days)).collect();
    let assessment = missing.map(|missing| Assessment::of_now(ago(3600), missing_updates(missing)));
    Arc::new(Machine { facts, assessment, attempt: None })
}

pub(super) fn fleet(tenant: &str, machines: impl IntoIterator<Item = Arc<Machine>>) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    fleet.machines = machines.into_iter().map(|machine| (machine.facts.id.clone(), machine)).collect();
    fleet
}

/// A policy of one deadline in days.
pub(super) fn policy(name: &str, days: u64) -> Policy {
    Policy::single(name, Duration::from_hours(24 * days), DeadlineStart::FirstSeen)
}

pub(super) fn body(page: &str) -> &str {
    page.split_once("<body>").unwrap().1
}

/// The texts between two marks.
pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

pub(super) fn heading(page: &str) -> &str {
    between(page, "<h1>", "</h1>")[0]
}

#[tokio::test]
async fn content_policy_allows_only_the_style_and_the_form() {
    for path in ["/", "/status"] {
        let page = get(&state(vec![polled("contoso")]), path).await;
        let style = between(page.text(), "<style>", "</style>")[0];
        let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()).as_ref());
        assert_eq!(
            page.header(CONTENT_SECURITY_POLICY),
            format!(
                "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'self'; \
                 frame-ancestors 'none'"
            )
        );
        assert_eq!(page.header(CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(page.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(page.header(REFERRER_POLICY), "no-referrer");
        assert_eq!(page.header(CACHE_CONTROL), "no-store");
        let markup = page.text().split_once("</style>").unwrap().1;
        for dynamic in
            ["<script", " style=", " onclick", " onload", "http://", "https://", "src=", "http-equiv"]
        {
            assert!(!markup.contains(dynamic), "{dynamic}");
        }
    }
}

#[tokio::test]
async fn page_refreshes_by_a_header_that_can_be_switched_off() {
    let state = state(vec![polled("contoso")]);
    for (address, refresh, link) in [
        ("/", "60", "<a href=\"./?refresh=off\">Stop refreshing</a>"),
        ("/status?refresh=on", "60", "<a href=\"./status?refresh=off\">Stop refreshing</a>"),
        ("/?refresh=off", "", "<a href=\"./\">Refresh every minute</a>"),
    ] {
        let page = get(&state, address).await;
        assert_eq!(page.header(REFRESH), refresh, "{address}");
        assert!(page.text().contains(link), "{address}");
    }
    assert_eq!(get(&state, "/?refresh=never").await.header(REFRESH), "");
}

#[tokio::test]
async fn value_outside_a_closed_list_is_answered_with_those_that_exist() {
    let mut state = state(vec![]);
    let fleets = vec![polled("contoso"), polled("fabrikam")];
    state.published = published(fleets, vec![policy("14d", 14)], 0);
    for (query, listed) in [
        ("tenant=none", "contoso\nfabrikam\n"),
        ("state=Fresh", "fresh\nstale\ninactive\nunknown\nunsupported\n"),
        ("policy=30d", "14d\n"),
        ("policy_state=late", "compliant\ndue\noverdue\naccepted\nunknown\nunsupported\n"),
        ("sort=name", ""),
        ("refresh=10", "on\noff\n"),
        ("page=0", "a number from 1\n"),
        ("page=-1", "a number from 1\n"),
        ("page=two", "a number from 1\n"),
        ("deadline=tomorrow", "a day such as 2027-01-31\n"),
        ("deadline=2026-03-11/x", "a day such as 2027-01-31\n"),
        ("exception=none", ""),
    ] {
        let answer = get(&state, &format!("/?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header(CONTENT_TYPE), "text/plain; charset=utf-8");
        let (name, value) = query.split_once('=').unwrap();
        let line = format!("invalid value {value:?} of the parameter {name}; these exist:\n{listed}");
        assert_eq!(answer.text(), line);
    }
    for query in
        ["tenant=&state=&policy=&page=", "page=99999999999999999999999", "x=1&Q=1", "&&==&%&%f", "kb=nothing"]
    {
        assert_eq!(get(&state, &format!("/?{query}")).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn search_leads_to_the_machine_or_update_that_it_means() {
    let machines = [
        machine("aa01", "SRV-DB-01.corp.example", Some((1, 0))),
        machine("aa02", "srv-web-01.corp.example", Some((2, 0))),
        machine("aa03", "twin", None),
        machine("aa04", "twin", None),
    ];
    let mut state = state(vec![]);
    state.published = published(vec![fleet("t", machines)], vec![policy("14d", 14), policy("30d", 30)], 0);
    for (search, link) in [
        ("kb5000000", "./updates/5000000"),
        ("5000001&policy=30d", "./updates/5000001?policy=30d"),
        ("kb5999999", "./machines?q=kb5999999"),
        ("srv-db-01.CORP.example", "./machines/aa01"),
        ("srv-web-01", "./machines/aa02"),
        ("AA02&refresh=off", "./machines/aa02?refresh=off"),
        ("twin", "./machines?q=twin"),
        ("srv", "./machines?q=srv"),
        ("a%26b", "./machines?q=a%26b"),
    ] {
        let answer = get(&state, &format!("/?q={search}")).await;
        assert_eq!((answer.status.as_u16(), answer.header(LOCATION)), (303, link), "{search}");
    }
}

#[tokio::test]
async fn search_within_a_tenant_leads_to_its_rows_alone() {
    let of_a = [machine("aa01", "srv-1", Some((2, 0))), machine("aa02", "srv-2", None)];
    let of_b = [machine("aa01", "pc-1", Some((1, 0))), machine("aa03", "srv-2", None)];
    let mut state = state(vec![]);
    state.published = published(vec![fleet("a", of_a), fleet("b", of_b)], vec![], 0);
    for (search, link) in [
        ("srv-1&tenant=b", "./machines?q=srv-1&tenant=b"),
        ("srv-2&tenant=b", "./machines/aa03?tenant=b"),
        ("5000001&tenant=b", "./machines?q=5000001&tenant=b"),
        ("5000000&tenant=b", "./updates/5000000?tenant=b"),
        ("srv-1", "./machines/aa01?tenant=a"),
        ("srv-2", "./machines?q=srv-2"),
        ("aa01", "./machines?q=aa01"),
    ] {
        let answer = get(&state, &format!("/?q={search}")).await;
        assert_eq!((answer.status.as_u16(), answer.header(LOCATION)), (303, link), "{search}");
    }
}

#[tokio::test]
async fn status_shows_tenants_polls_series_and_facts() {
    let mut failing = TenantFleet::new("fabrikam".into());
    failing.source = Source::Export;
    failing.export_version = Some(ExportVersion::new(ago(4 * 3600), ago(5), false, None));
    failing.status.last_poll = Some(ago(5));
    failing.status.last_error = Some("token refused (AADSTS7000222)".to_owned());
    let mut state = state(vec![]);
    let fleets = vec![polled("contoso"), failing, TenantFleet::new("new".into())];
    let windows = [(12, 40), (310, 1200)].map(|(used, allowed)| QuotaWindow { allowed, used });
    let contoso = TenantStatus {
        quota: Some(windows),
        poll_interval: Some(Duration::from_hours(6)),
        token_expiry: Some(ago(-47 * 60)),
    };
    let fabrikam = TenantStatus { token_expiry: Some(ago(60)), ..TenantStatus::default() };
    let statuses = vec![contoso, fabrikam, TenantStatus::default()];
    state.published = published_with(fleets, vec![policy("14d", 0)], 110, statuses);
    let page = get(&state, "/status").await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!(body(page.text()));
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let mut hostile = fleet(HOSTILE, [machine("a", HOSTILE, Some((1, 30)))]);
    hostile.status.last_poll = Some(ago(5));
    hostile.status.last_error = Some(HOSTILE.to_owned());
    let mut state = state(vec![]);
    state.published = published(vec![hostile, fleet("b", [])], vec![policy(HOSTILE, 14)], 0);
    state.telemetry_path = format!("/{HOSTILE}");
    for path in ["/", "/status"] {
        let page = get(&state, path).await;
        assert!(!page.text().contains("<script") && !page.text().contains(HOSTILE), "{}", page.text());
        let escaped = "&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#34;&#38;";
        assert!(page.text().matches(escaped).count() >= 3, "{}", page.text());
    }
}
