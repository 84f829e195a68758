//! Text from outside stays text.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::web::tests::HOSTILE;

/// A tenant, a machine and an update that all have this name.
fn named(name: &str) -> WebState {
    let mut machine = machine("a", name, Some(&[1]));
    let of = Arc::make_mut(&mut machine);
    let text = || name.to_owned();
    (of.facts.os_platform, of.facts.device_group) = (format!("Windows{name}"), text());
    of.facts.tags = Some([format!("team:{name}")].into());
    let missing = &mut of.assessment.as_mut().unwrap().missing_updates[0];
    missing.update.facts = Arc::new(crate::fleet::UpdateFacts { title: text(), ..Default::default() });
    served(vec![fleet(name, [machine]), fleet("other", [])], &options())
}

/// The text of a page between its tags, and its tags without their attributes.
fn text_and_tags(page: &str) -> (String, Vec<String>) {
    let (mut text, mut tags) = (String::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').expect("every tag ends");
        tags.push(tag.split(' ').next().unwrap_or_default().to_owned());
        text.push_str(rest);
    }
    (text, tags)
}

async fn page(name: &str, path: &str) -> String {
    let page = get(&named(name), path).await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.text().to_owned()
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let search: String = form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for path in [format!("/machines?q={search}&group={search}&tenant={search}"), "/machines/a".to_owned()] {
        let page = page(HOSTILE, &path).await;
        assert!(!page.contains("<script") && !page.contains(HOSTILE), "{page}");
        assert_eq!(rows(&page).len(), 1);
        let markup = page.split_once("</style>").unwrap().1;
        for dynamic in [" style=", " onerror", "http://", "src="] {
            assert!(!markup.contains(dynamic), "{dynamic}");
        }
    }
}

#[tokio::test]
async fn long_names_are_cut() {
    let name = "<\u{202e}".repeat(50_000);
    let machines = (0..60).map(|number| machine(&format!("{number:03}"), &name, Some(&[1])));
    let state = served(vec![fleet("t", machines)], &options());
    let page = get(&state, &format!("/machines?q={}", "%3C%E2%80%AE".repeat(5_000))).await;
    assert_eq!(ids(page.text()).len(), 50);
    assert!(page.text().len() < 2_000_000, "{}", page.text().len());
}

#[tokio::test]
async fn unknown_machine_is_named_as_text() {
    let answer = get(&named("x"), "/machines/%3Cb%3E%E2%80%AE").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "no machine in scope has the id <b>\\u{202e}\n");
    assert_eq!(answer.header(axum::http::header::CONTENT_TYPE), "text/plain; charset=utf-8");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_changes_the_structure_of_a_page(
        // A search for white space is none, and a name of it is shown as the id.
        name in prop_oneof!["[<>&\"'/!\\-a-z =]{1,60}", "\\PC{1,60}", ".{1,60}"]
            .prop_filter("white space", |name| !name.trim().is_empty()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shown = |name: &str, path: &str| {
            let page = runtime.block_on(page(name, path));
            let (text, tags) = text_and_tags(&page);
            let control = text.chars().find(|character| character.is_control() && *character != '\n');
            prop_assert_eq!(control, None);
            Ok::<_, TestCaseError>(tags)
        };
        for path in ["/machines", "/machines/a"] {
            prop_assert_eq!(shown(&name, path)?, shown("plain", path)?);
        }
    }
}
