//! Links from one page of the exporter to another.

use std::sync::Arc;

use url::Url;

/// The base of the links on all pages. By default links are relative, so that they work behind a reverse proxy
/// under any prefix.
#[derive(Clone, Debug, Default)]
pub struct LinkBase {
    /// The path of `--web.external-url`, with a slash at both ends.
    prefix: Option<Arc<str>>,
}

impl LinkBase {
    /// Links that start with the path of `external`, the URL under which users reach the exporter.
    #[must_use]
    pub fn new(external: Option<&Url>) -> Self {
        let prefix = external.map(|url| match url.path().trim_matches('/') {
            "" => "/".into(),
            // Two slashes at the start would name a host.
            path => format!("/{path}/").into(),
        });
        Self { prefix }
    }

    /// Returns the start of every link on the page at `path`; the path of the other page, without its slash,
    /// follows.
    pub(super) fn start(&self, path: &str) -> String {
        match &self.prefix {
            Some(prefix) => prefix.to_string(),
            // A link without a dot would be a URL if its first segment contained a colon.
            None => match path.matches('/').count() {
                0 | 1 => "./".to_owned(),
                depth => "../".repeat(depth - 1),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path that a browser requests for a link to `/a:b` on the page at `path`.
    fn target(base: &LinkBase, shown_at: &str, path: &str) -> String {
        let page = Url::parse("https://proxy.example").unwrap().join(shown_at).unwrap();
        page.join(&format!("{}a:b", base.start(path))).unwrap().path().to_owned()
    }

    #[test]
    fn relative_links_work_at_any_depth_and_under_any_prefix() {
        for prefix in ["", "/mde", "/tools/mde"] {
            for path in ["/", "/machines", "/machines/", "/machines/2339ad14", "/machines/a/b.csv"] {
                let shown_at = format!("{prefix}{path}");
                assert_eq!(
                    target(&LinkBase::default(), &shown_at, path),
                    format!("{prefix}/a:b"),
                    "{shown_at}"
                );
            }
        }
    }

    #[test]
    fn links_start_with_the_path_of_the_external_url() {
        for (url, wanted) in [
            ("https://proxy.example", "/a:b"),
            ("https://proxy.example/mde", "/mde/a:b"),
            ("https://proxy.example/tools/mde/", "/tools/mde/a:b"),
            ("https://proxy.example//other.example/", "/other.example/a:b"),
        ] {
            let base = LinkBase::new(Some(&Url::parse(url).unwrap()));
            for path in ["/", "/machines/2339ad14"] {
                assert_eq!(target(&base, path, path), wanted, "{url}");
            }
        }
    }
}
