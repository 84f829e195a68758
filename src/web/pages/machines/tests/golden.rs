//! Whole pages.

use super::*;

/// A page behind its style.
async fn body(path: &str) -> String {
    let page = get(&served(fleets(), &options()), path).await;
    page.text().split_once("<main").unwrap().1.split_once("</main>").unwrap().0.to_owned()
}

#[tokio::test]
async fn list_of_machines() {
    insta::assert_snapshot!(body("/machines?state=fresh").await);
}

#[tokio::test]
async fn page_of_a_machine() {
    insta::assert_snapshot!(body("/machines/A1?tenant=contoso").await);
}
