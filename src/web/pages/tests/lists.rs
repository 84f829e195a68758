//! Lists of several pages, which have the rows of their downloads.

use super::*;
use crate::metrics::RenderOptions;
use crate::model::OwnLabel;
use crate::web::WebState;
use crate::web::tests::rendered;

/// Two tenants with so many machines and missing updates that each list has several pages.
fn listed() -> WebState {
    let machines = |first: u32, count: u32| {
        (first..first + count).map(|number| {
            let missing = (number % 9 > 0).then_some((1 + number % 70, i64::from(number % 50)));
            let mut machine =
                machine(&format!("{number:04x}"), &format!("m-{}.example", number % 40), missing);
            let facts = &mut Arc::make_mut(&mut machine).facts;
            facts.tags = Some([format!("team:{}", number % 2)].into());
            machine
        })
    };
    let options = RenderOptions {
        policies: [policy("14d", 14), policy("30d", 30)].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        ..RenderOptions::default()
    };
    let fleets = vec![fleet("contoso", machines(0, 130)), fleet("fabrikam", machines(100, 60))];
    WebState { published: rendered(fleets, &options, Vec::new()), ..state(vec![]) }
}

/// The keys of the rows on all pages of a list, in their order. A key stands between `start` and `end`.
async fn on_pages(state: &WebState, address: &str, [start, end]: [&str; 2]) -> Vec<String> {
    let mut keys = Vec::new();
    for number in 1.. {
        let page = get(state, &format!("{address}&page={number}")).await;
        assert_eq!(page.status, 200, "{address}: {}", page.text());
        let rows = page.text().split("<table class=\"rows").nth(1).unwrap_or_default();
        keys.extend(
            between(rows.split("</table>").next().unwrap(), start, end).into_iter().map(str::to_owned),
        );
        if !page.text().contains("rel=\"next\"") {
            break;
        }
    }
    keys
}

/// The values of a column of a download. No value before it contains a comma.
async fn in_download(state: &WebState, address: &str, column: &str) -> Vec<String> {
    let answer = get(state, address).await;
    let mut lines = answer.text().lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().unwrap().iter().position(|name| *name == column).unwrap();
    lines.map(|cells| cells[place].to_owned()).collect()
}

#[tokio::test]
async fn pages_of_a_list_together_are_its_download() {
    let state = listed();
    let orders = |list: &str| match list {
        "/machines" => &machines::ORDERS[..],
        "/updates" => &updates::ORDERS[..],
        _ => update::ORDERS,
    };
    for (list, column, marks) in [
        ("/machines", "machine_id", ["<span class=\"title id\">", "<"]),
        ("/updates", "kb", [">KB", "<"]),
        ("/updates/5000001", "machine_id", ["<th scope=\"row\"><a href=\"../machines/", "\""]),
    ] {
        let mut longest = 0;
        for filter in ["", "policy=30d&policy_state=overdue", "team=1", "tenant=contoso", "q=m-1"] {
            for sort in orders(list) {
                let query = format!("{filter}&sort={sort}");
                let shown = on_pages(&state, &format!("{list}?{query}"), marks).await;
                // A link on the page of an update may have a query.
                let shown: Vec<_> =
                    shown.iter().map(|key| key.split('?').next().unwrap().to_owned()).collect();
                let rows = in_download(&state, &format!("{list}.csv?{query}"), column).await;
                assert_eq!(shown, rows, "{list}?{query}");
                longest = longest.max(rows.len());
            }
        }
        assert!(longest > 50, "{list} has {longest} rows");
    }
}

#[tokio::test]
async fn long_value_of_a_filter_is_cut_and_whole_in_its_title() {
    let group = "Clients of the branch offices in the north and the south";
    let mut machine = machine("a", "", Some((1, 20)));
    Arc::make_mut(&mut machine).facts.device_group = group.to_owned();
    let mut state = state(vec![]);
    state.published = published(vec![fleet("t", [machine])], vec![policy("14d", 14)], 0);
    let short = format!("<bdi title=\"{group}\">{}…</bdi>", &group[..40]);
    // Offered as a filter, and as the filter in effect.
    for query in [String::new(), format!("?group={}", group.replace(' ', "+"))] {
        let page = get(&state, &format!("/machines{query}")).await;
        assert!(page.text().contains(&short), "{query}: {}", page.text());
    }
}
