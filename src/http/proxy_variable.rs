//! The proxy of the environment, where its variables need correction.
//!
//! The HTTP library reads `HTTPS_PROXY` and `NO_PROXY`, and ignores a value that it cannot use. A value in
//! quotes is common: an `--env-file` of a container and `EnvironmentFile` of other programs do not remove them.

use std::sync::Once;

use reqwest::{NoProxy, Proxy, Url};

/// The variables with the proxy of https requests, in order of precedence.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxy of the environment if the HTTP library would not find it: its variable or the one of its
/// exceptions has quotes.
pub(super) fn quoted_proxy() -> Option<Proxy> {
    let variable = |name: &str| std::env::var(name).ok();
    match corrected(variable) {
        Ok(proxy) => {
            let EnvironmentProxy { url, exceptions } = proxy?;
            let exceptions = exceptions.and_then(|list| NoProxy::from_string(&list));
            Some(Proxy::all(url).ok()?.no_proxy(exceptions))
        }
        Err(UnusableProxy { variable }) => {
            static WARNING: Once = Once::new();
            WARNING.call_once(|| {
                tracing::warn!(
                    variable,
                    "environment variable does not hold the URL of a proxy; using no proxy"
                );
            });
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct EnvironmentProxy {
    url: Url,
    exceptions: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct UnusableProxy {
    variable: &'static str,
}

fn corrected(variable: impl Fn(&str) -> Option<String>) -> Result<Option<EnvironmentProxy>, UnusableProxy> {
    let set = |name: &&'static str| Some((*name, variable(name).filter(|value| !value.trim().is_empty())?));
    let Some((name, value)) = VARIABLES.iter().find_map(set) else { return Ok(None) };
    let exceptions = EXCEPTIONS.iter().find_map(set).map(|(_, value)| value);
    let (plain, is_quoted) = without_quotes(&value);
    let url = if plain.contains("://") { Url::parse(plain) } else { Url::parse(&format!("http://{plain}")) };
    let url = url.ok().filter(has_usable_host).ok_or(UnusableProxy { variable: name })?;
    let quoted_exceptions = exceptions.as_deref().is_some_and(|list| without_quotes(list).1);
    if !is_quoted && !quoted_exceptions {
        return Ok(None);
    }
    let exceptions = exceptions.map(|list| without_quotes(&list).0.to_owned());
    Ok(Some(EnvironmentProxy { url, exceptions }))
}

fn has_usable_host(url: &Url) -> bool {
    url.host_str().is_some_and(|host| !host.contains(['"', '\'']))
}

/// The value without the quotes around it, and whether there were any.
fn without_quotes(value: &str) -> (&str, bool) {
    let value = value.trim();
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match inner('"').or_else(|| inner('\'')) {
        Some(inner) => (inner.trim(), true),
        None => (value, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<Option<(String, Option<String>)>, &'static str> {
        let value =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        corrected(value)
            .map(|proxy| proxy.map(|EnvironmentProxy { url, exceptions }| (url.to_string(), exceptions)))
            .map_err(|UnusableProxy { variable }| variable)
    }

    #[test]
    fn quotes_around_the_proxy_are_removed() {
        let found = Ok(Some(("http://proxy:3128/".to_owned(), None)));
        for value in ["\"http://proxy:3128\"", "'http://proxy:3128'", " \"proxy:3128\" "] {
            assert_eq!(proxy(&[("HTTPS_PROXY", value)]), found, "{value}");
            assert_eq!(proxy(&[("HTTPS_PROXY", ""), ("all_proxy", value)]), found, "{value}");
        }
        assert_eq!(
            proxy(&[("https_proxy", "proxy:3128"), ("NO_PROXY", "'a.example,10.0.0.0/8'")]),
            Ok(Some(("http://proxy:3128/".to_owned(), Some("a.example,10.0.0.0/8".to_owned()))))
        );
    }

    #[test]
    fn usual_values_are_left_to_the_library() {
        assert_eq!(proxy(&[]), Ok(None));
        assert_eq!(proxy(&[("NO_PROXY", "\"a\"")]), Ok(None));
        assert_eq!(proxy(&[("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", "a")]), Ok(None));
    }

    #[test]
    fn value_that_is_no_url_is_reported() {
        for value in ["\"", "\"\"", "http://", "http://a b", "proxy:port"] {
            assert_eq!(proxy(&[("HTTPS_PROXY", value)]), Err("HTTPS_PROXY"), "{value}");
        }
    }
}
