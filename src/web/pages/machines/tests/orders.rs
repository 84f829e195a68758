//! The orders of the list.

use super::*;

#[tokio::test]
async fn each_order_puts_the_worst_first() {
    let state = served(fleets(), &options());
    for (sort, found) in [
        // Overdue since 36 days and 1 day; due; not judged by name; accepted; compliant by name; unsupported.
        ("", ["a1", "b1", "a2", "a5", "a4", "a6", "a1", "a3", "a7"]),
        ("sort=overdue", ["a1", "b1", "a2", "a5", "a4", "a6", "a1", "a3", "a7"]),
        ("sort=missing", ["a1", "b1", "a2", "a5", "a4", "a6", "a1", "a3", "a7"]),
        ("sort=exploited", ["a1", "a5", "a4", "b1", "a6", "a2", "a1", "a3", "a7"]),
        ("sort=oldest", ["a1", "b1", "a2", "a5", "a4", "a6", "a1", "a3", "a7"]),
        ("sort=name", ["a5", "b1", "a6", "a7", "a1", "a2", "a1", "a4", "a3"]),
    ] {
        assert_eq!(listed(&state, sort).await, found, "{sort}");
    }
}

#[tokio::test]
async fn head_of_the_sorted_column_says_so() {
    let state = served(fleets(), &options());
    for (sort, column, direction) in [
        ("", "Overdue", "descending"),
        ("sort=missing", "Missing", "descending"),
        ("sort=exploited", "Exploited", "descending"),
        ("sort=oldest", "Oldest missing", "ascending"),
        ("sort=name", "Machine", "ascending"),
    ] {
        let at = format!("/machines?q=corp&{sort}");
        let page = get(&state, &at).await;
        let sorted: Vec<_> = between(page.text(), "<th scope=\"col\"", "</th>")
            .into_iter()
            .filter(|head| head.contains("aria-sort"))
            .collect();
        let [head] = sorted[..] else { panic!("{sorted:?}") };
        assert!(head.contains(&format!("aria-sort=\"{direction}\"")) && head.contains(column), "{head}");
        let (link, _) = links(&at, head)[0].clone();
        let query = format!("q=corp&{sort}");
        let expected = if sort.is_empty() { "q=corp" } else { &query };
        assert_eq!(link, format!("/machines?{expected}"));
    }
}

#[tokio::test]
async fn pages_of_an_order_are_parts_of_one_list() {
    let machines = (0..170_i64).map(|number| {
        let days = [number % 30, number % 7];
        let missing = (number % 5 > 0).then_some(&days[..usize::try_from(number % 3).unwrap()]);
        machine(&format!("{number:03}"), &format!("pc-{}", number % 11), missing)
    });
    let state = served(vec![fleet("t", machines)], &options());
    for sort in super::super::ORDERS {
        let mut seen = Vec::new();
        for page in 1..=4 {
            seen.extend(listed(&state, &format!("sort={sort}&page={page}")).await);
        }
        let mut each = seen.clone();
        each.sort();
        each.dedup();
        assert_eq!((each.len(), seen.len()), (170, 170), "{sort}");
        let whole = |filter: &str| format!("sort={sort}&{filter}");
        for filter in ["q=pc-3", "state=unknown"] {
            let part = listed(&state, &whole(filter)).await;
            let places: Vec<_> = part.iter().map(|id| seen.iter().position(|other| other == id)).collect();
            assert!(places.is_sorted(), "{sort} {filter}");
        }
    }
}
