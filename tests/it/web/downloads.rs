//! Downloads, compared with the report and the exposition of the same snapshot.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{StatusCode, header};
use mde_exporter::model::ReportFormat;
use proptest::prelude::*;

use crate::support::fleets::{FIRST_SEEN, any_fleets, special_case_policies};
use crate::support::pages::{Row, Served, block_on, policies, query, settings, special_cases, unguarded};
use crate::support::report::{csv_rows, report_text};

fn sum(rows: &[Row], column: &str) -> f64 {
    rows.iter().filter_map(|row| row[column].parse::<f64>().ok()).sum()
}

proptest! {
    #[test]
    fn downloads_are_the_rows_of_the_report_and_the_series(
        fleets in any_fleets(),
        policies in policies(),
        has_facts: bool,
        has_exceptions: bool,
    ) {
        let settings = settings(policies, has_facts, has_exceptions);
        let served = Served::new(&fleets, &settings);
        let report = csv_rows(&report_text(&fleets, &settings, ReportFormat::Csv));
        let exposed = &served.exposed;
        let machines = block_on(served.rows("/machines"));
        let updates = block_on(served.rows("/updates"));

        let supported = machines.iter().filter(|row| row["data_state"] != "unsupported").count();
        prop_assert_eq!(supported as f64, exposed.count("mde_machine_info"));
        prop_assert_eq!(sum(&machines, "missing_updates"), exposed.count(FIRST_SEEN));
        prop_assert_eq!(sum(&machines, "exploited_updates"), exposed.sum("mde_machine_missing_exploited_updates"));
        let key = |row: &Row| {
            (row["tenant"].clone(), unguarded(&row["machine"]).to_lowercase(), row["machine_id"].clone())
        };
        let mut in_report: Vec<_> = report.iter().map(key).collect();
        in_report.dedup();
        prop_assert_eq!(machines.iter().map(key).collect::<Vec<_>>(), in_report);
        if let Some(policy) = settings.policies.first() {
            for state in ["compliant", "due", "overdue", "accepted", "unknown", "unsupported"] {
                let of_policy = exposed.samples("mde_policy_machines").filter(|sample| {
                    sample.label("policy") == &*policy.name && sample.label("state") == state
                });
                let expected: f64 = of_policy.map(|sample| sample.value).sum();
                let listed = machines.iter().filter(|row| row["state"] == state).count();
                prop_assert_eq!(listed as f64, expected, "{}", state);
            }
        }
        let overdue = report.iter().filter(|row| row["state"] == "overdue" && !row["kb"].is_empty()).count();
        prop_assert_eq!(sum(&machines, "overdue_updates"), overdue as f64);
        prop_assert_eq!(sum(&updates, "overdue_machines"), overdue as f64);

        let mut by_kb: BTreeMap<String, f64> = BTreeMap::new();
        for row in &updates {
            *by_kb.entry(row["kb"].clone()).or_default() += row["machines"].parse::<f64>().unwrap();
        }
        prop_assert_eq!(by_kb, exposed.sum_by("mde_update_missing_machines", "kb"));

        let ids: BTreeSet<&String> = machines.iter().map(|row| &row["machine_id"]).collect();
        for id in ids {
            let listed = block_on(served.rows(&format!("/machines/{}", id.to_uppercase())));
            let expected: Vec<_> = report.iter().filter(|row| row["machine_id"] == *id).cloned().collect();
            prop_assert_eq!(listed, expected);
        }
        let kbs: BTreeSet<&String> = updates.iter().map(|row| &row["kb"]).collect();
        for kb in kbs {
            let listed = block_on(served.rows(&format!("/updates/{kb}")));
            let expected: Vec<_> = report.iter().filter(|row| row["kb"] == *kb).cloned().collect();
            prop_assert_eq!(listed, expected);
        }
    }

    #[test]
    fn parameters_select_the_rows_that_have_their_values(
        fleets in any_fleets(),
        policies in policies(),
        has_facts: bool,
        has_exceptions: bool,
        chosen: prop::sample::Index,
        column in prop::sample::select(vec![
            ("data_state", "state"), ("os_platform", "platform"), ("device_group", "group"), ("team", "team"),
            ("servicing", "servicing"), ("state", "policy_state"), ("tenant", "tenant"),
        ]),
    ) {
        let settings = settings(policies, has_facts, has_exceptions);
        let served = Served::new(&fleets, &settings);
        let report = csv_rows(&report_text(&fleets, &settings, ReportFormat::Csv));
        let machines = block_on(served.rows("/machines"));
        prop_assume!(!machines.is_empty());
        let (column, parameter) = column;
        let value = machines[chosen.index(machines.len())][column].clone();
        // An empty value of another parameter is one that is not given.
        prop_assume!(parameter == "team" || !value.is_empty());
        let query = query(&[(parameter, unguarded(&value))]);
        let has_value = |row: &&Row| match parameter {
            "platform" | "group" => row[column].eq_ignore_ascii_case(&value),
            _ => row[column] == value,
        };
        let selected: Vec<Row> = machines.iter().filter(has_value).cloned().collect();
        prop_assert_eq!(&block_on(served.rows(&format!("/machines?{query}"))), &selected);

        let key = |row: &Row| (row["tenant"].clone(), row["machine_id"].clone());
        let keys: BTreeSet<_> = selected.iter().map(key).collect();
        let missing: Vec<&Row> =
            report.iter().filter(|row| keys.contains(&key(row)) && !row["kb"].is_empty()).collect();
        let mut expected: BTreeMap<(String, u32), (usize, usize)> = BTreeMap::new();
        for row in &missing {
            let counts = expected.entry((unguarded(&row["tenant"]).to_owned(), row["kb"].parse().unwrap())).or_default();
            counts.0 += 1;
            counts.1 += usize::from(row["state"] == "overdue");
        }
        let updates = block_on(served.rows(&format!("/updates?{query}")));
        let listed: Vec<_> = updates.iter().map(|row| {
            let overdue: usize = row["overdue_machines"].parse().unwrap_or_default();
            ((unguarded(&row["tenant"]).to_owned(), row["kb"].parse().unwrap()), (row["machines"].parse().unwrap(), overdue))
        }).collect();
        prop_assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
        if parameter != "policy_state" {
            let kbs: BTreeSet<&String> = updates.iter().map(|row| &row["kb"]).collect();
            for kb in kbs {
                let of_kb: Vec<Row> = missing.iter().filter(|row| row["kb"] == *kb).map(|row| (*row).clone()).collect();
                prop_assert_eq!(block_on(served.rows(&format!("/updates/{kb}?{query}"))), of_kb);
            }
        }
    }

    #[test]
    fn lists_have_the_rows_of_their_downloads(
        fleets in any_fleets(),
        policies in policies(),
        has_facts: bool,
        parameter in prop::sample::select(vec![
            "", "state=fresh", "policy_state=overdue", "policy_state=unknown", "team=", "team=a", "exploited=true",
            "servicing=ended", "q=june", "q=1", "kb=5", "reason=never_read", "policy=first_seen",
        ]),
        sort in prop::sample::select(vec!["", "name", "overdue", "exploited", "kb", "age", "missing", "machines"]),
    ) {
        let served = Served::new(&fleets, &settings(policies, has_facts, false));
        for list in ["/machines", "/updates"] {
            let page = format!("{list}?{parameter}&sort={sort}");
            let reply = block_on(served.ask("GET", &page));
            let download = format!("{list}.csv?{parameter}&sort={sort}");
            let status = block_on(served.ask("GET", &download)).status;
            prop_assert_eq!(reply.status, status, "{}", page);
            if status != StatusCode::OK {
                continue;
            }
            let rows = block_on(served.rows(&page));
            let count = rows.len();
            prop_assert_eq!(reply.text.matches("<th scope=\"row\">").count(), count.min(50), "{}", page);
            if list == "/updates" && !sort.is_empty() {
                let shown = reply.text.split("<a class=\"kb\" ").skip(1).map(|rest| {
                    let name = rest.split(['>', '<']).nth(1).unwrap();
                    name.strip_prefix("KB").unwrap().to_owned()
                });
                let kbs = rows.iter().map(|row| row["kb"].clone()).take(50);
                prop_assert_eq!(shown.collect::<Vec<_>>(), kbs.collect::<Vec<_>>(), "{}", page);
            }
            let position = format!(" of {count}, ");
            prop_assert!(count == 0 || reply.text.contains(&position), "{} has no {}", page, position);
        }
    }
}

#[tokio::test]
async fn states_of_missing_updates_select_rows() {
    let served = special_cases();
    let all = [served.rows("/machines/a1").await, served.rows("/updates/5039212").await];
    for state in ["compliant", "due", "overdue", "accepted", "unknown", "unsupported"] {
        for (rows, path) in all.iter().zip(["/machines/a1", "/updates/KB5039212"]) {
            let expected: Vec<_> = rows.iter().filter(|row| row["state"] == state).cloned().collect();
            assert_eq!(
                served.rows(&format!("{path}?policy_state={state}")).await,
                expected,
                "{path} {state}"
            );
        }
    }
    assert!(all.iter().flatten().any(|row| row["state"] == "overdue"));
}

#[tokio::test]
async fn updates_are_found_by_kb_title_product_and_exploitation() {
    let served = special_cases();
    let all = served.rows("/updates").await;
    let contains = |row: &Row, text: &str| {
        let words = [&row["kb"], &row["title"], &row["products"]];
        words.iter().any(|word| word.to_lowercase().contains(text))
    };
    for text in ["5039", "june", "edge", "windows", "no such update"] {
        let expected: Vec<_> = all.iter().filter(|row| contains(row, text)).cloned().collect();
        assert_eq!(served.rows(&format!("/updates?{}", query(&[("q", text)]))).await, expected, "{text}");
    }
    assert_eq!(served.rows("/updates?q=KB5039212").await, served.rows("/updates?kb=kb5039212").await);
    assert!(!served.rows("/updates?q=KB5039212").await.is_empty());
    for exploited in ["true", "false"] {
        let expected: Vec<_> = all.iter().filter(|row| row["exploited"] == exploited).cloned().collect();
        assert_eq!(served.rows(&format!("/updates?exploited={exploited}")).await, expected);
    }
}

#[tokio::test]
async fn headers_name_the_file_and_forbid_to_store_it() {
    let served = special_cases();
    for (path, name) in [
        ("/machines", "machines"),
        ("/machines/A1", "a1"),
        ("/updates", "updates"),
        ("/updates/KB5039212", "KB5039212"),
        ("/updates/5039212", "KB5039212"),
    ] {
        for (format, kind) in
            [("csv", "text/csv; charset=utf-8; header=present"), ("json", "application/json")]
        {
            let path = format!("{path}.{format}");
            let [got, head] = [served.ask("GET", &path).await, served.ask("HEAD", &path).await];
            for reply in [&got, &head] {
                assert_eq!(reply.status, StatusCode::OK, "{path}");
                assert_eq!(reply.header(header::CONTENT_TYPE), kind);
                let disposition = format!("attachment; filename=\"{name}.{format}\"");
                assert_eq!(reply.header(header::CONTENT_DISPOSITION), disposition);
                assert_eq!(reply.header(header::CACHE_CONTROL), "no-store");
                assert_eq!(reply.header(header::REFRESH), "");
            }
            assert!(!got.text.is_empty() && head.text.is_empty(), "{path}");
            assert_eq!(served.ask("POST", &path).await.status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}

#[tokio::test]
async fn unknown_objects_are_not_found_and_wrong_values_refused() {
    let served = special_cases();
    for path in [
        "/machines/nothing.csv",
        "/machines/.json",
        "/updates/KB1.csv",
        "/updates/5039299.json",
        "/updates/x.csv",
    ] {
        assert_eq!(served.ask("GET", path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/machines.csv", "/machines/a1.csv", "/updates.json", "/updates/5039212.csv"] {
        for wrong in ["tenant=x", "state=x", "policy=x", "policy_state=none", "sort=x", "refresh=x", "page=0"]
        {
            let reply = served.ask("GET", &format!("{path}?{wrong}")).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {wrong}");
            assert_eq!(reply.header(header::CONTENT_DISPOSITION), "");
        }
        let reply = served.ask("GET", &format!("{path}?unknown=x&page=9&refresh=off")).await;
        assert_eq!(reply.text, served.ask("GET", path).await.text, "{path}");
    }
}

#[tokio::test]
async fn a_selection_of_nothing_has_a_header_alone() {
    let served = special_cases();
    let header = served.ask("GET", "/machines.csv?group=nothing").await.text;
    assert_eq!(csv_rows(&header), Vec::<Row>::new());
    assert!(header.starts_with("tenant,machine,machine_id,") && header.ends_with("\r\n"), "{header}");
    assert_eq!(served.ask("GET", "/machines.json?group=nothing").await.text, "[]\n");
}

#[tokio::test]
async fn columns_are_those_of_the_documentation() {
    let served = special_cases();
    let first_line =
        async |path: &str| served.ask("GET", path).await.text.split("\r\n").next().unwrap().to_owned();
    assert_eq!(
        first_line("/machines.csv").await,
        "tenant,machine,machine_id,os_platform,os_version,device_group,team,servicing,data_state,missing_updates,\
         exploited_updates,overdue_updates,late_since,policy,state,last_seen,data_read_at"
    );
    assert_eq!(
        first_line("/updates.csv").await,
        "tenant,kb,title,products,vendor_severity,exploited,released,first_seen,machines,overdue_machines,\
         addressed_cves"
    );
    let report = "tenant,machine,machine_id,os_platform,os_version,device_group,team,kb,title,severity,\
                  vendor_severity,exploited,released,first_seen,late_since,policy,rule,deadline,state,exception,\
                  exception_reason,exception_until,data_read_at";
    assert_eq!(first_line("/machines/a1.csv").await, report);
    assert_eq!(first_line("/updates/5039212.csv").await, report);
}

#[tokio::test]
async fn the_policy_of_the_query_decides() {
    let served = special_cases();
    for policy in special_case_policies() {
        let query = query(&[("policy", &policy.name)]);
        let rows = served.rows(&format!("/machines?{query}")).await;
        let of_policy = served
            .exposed
            .samples("mde_policy_machines")
            .filter(|sample| sample.label("policy") == &*policy.name && sample.label("state") == "overdue");
        let overdue = rows.iter().filter(|row| row["state"] == "overdue").count();
        assert_eq!(overdue as f64, of_policy.map(|sample| sample.value).sum::<f64>());
        assert!(rows.iter().all(|row| row["policy"] == *policy.name));
        let rows = served.rows(&format!("/updates/5039212?{query}")).await;
        assert!(rows.iter().all(|row| row["policy"] == *policy.name));
    }
}
