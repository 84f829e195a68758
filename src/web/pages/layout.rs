//! What all pages have in common: head, search, links to the pages, and the refresh.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::context::PageContext;
use super::query::PageQuery;
use super::text::{ShownTime, visible};

/// The style of all pages. Tables become paragraphs on a phone, the wide list of machines also on small screens.
const STYLE: &str = concat!(
    include_str!("../../../templates/pages.css"),
    "@media (max-width: 56rem) { .rows {\n",
    include_str!("../../../templates/rows.css"),
    "} .policies {\n",
    include_str!("../../../templates/policies.css"),
    "} }\n@media (min-width: 56.01rem) and (max-width: 79.99rem) { .machines {\n",
    include_str!("../../../templates/rows.css"),
    "} }\n",
);

pub(super) static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    // The page has an empty icon, so that browsers do not request one.
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
});

/// The frame around a page.
pub(super) struct Layout {
    pub(super) style: &'static str,
    pub(super) version: &'static str,
    /// The sentence with the answer: heading and title.
    pub(super) headline: String,
    /// Name, link and whether it is the current one, of each page in the navigation.
    pub(super) pages: Vec<(&'static str, String, bool)>,
    /// The link of the search form.
    pub(super) home: String,
    pub(super) metrics: String,
    /// The searched text, which the form shows again.
    pub(super) search: String,
    /// Parameters that the search form keeps.
    pub(super) kept: Vec<(String, String)>,
    pub(super) refresh: &'static str,
    pub(super) refresh_link: String,
    pub(super) at: ShownTime,
}

impl Layout {
    /// The frame of a page with this headline. `path` is the page in the navigation, empty for the overview.
    pub(super) fn new(context: &PageContext, headline: String, path: &str) -> Self {
        let kept = context.query.kept();
        let pages =
            [("Overview", ""), ("Machines", "machines"), ("Updates", "updates"), ("Status", "status")];
        let link = |(name, page): (&'static str, &str)| (name, context.link(page, &kept), page == path);
        let switched = PageQuery { is_fixed: !context.query.is_fixed, ..context.query.clone() };
        Self {
            style: STYLE,
            version: context.version,
            headline,
            pages: pages.map(link).into(),
            home: context.links.clone(),
            metrics: format!("{}{}", context.links, context.metrics_path.trim_start_matches('/')),
            search: visible(&context.query.search),
            kept: kept.parameters(&context.snapshot),
            refresh: if context.query.is_fixed { "Refresh every minute" } else { "Stop refreshing" },
            refresh_link: context.link_to_self(&switched),
            at: ShownTime::past(context.snapshot.at, context.now),
        }
    }
}
