//! The query of the page: the part of its address after `?`.
//!
//! Every address is valid: an invalid value is ignored, the first of repeated keys counts, and a page beyond
//! the last one is the last one.

use crate::fleet::MachineState;

/// Longest search text in characters; names are shorter.
const LONGEST_SEARCH: usize = 256;

/// The machines to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MachineQuery {
    /// Part of a name, or a whole id; empty for every machine.
    pub(super) search: String,
    /// Name of a tenant; empty for all.
    pub(super) tenant: String,
    /// State of the machines; none for all.
    pub(super) state: Option<MachineState>,
    /// Page number from 1; may be beyond the last page.
    pub(super) page: usize,
}

impl MachineQuery {
    pub(super) fn parse(query: &str) -> Self {
        let value = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let state = value("state");
        Self {
            search: value("q").trim().chars().take(LONGEST_SEARCH).collect(),
            tenant: value("tenant"),
            state: MachineState::ALL.into_iter().find(|other| other.as_str() == state),
            page: value("page").parse().unwrap_or(1).max(1),
        }
    }

    /// Returns whether the query excludes machines.
    pub(super) fn is_filtered(&self) -> bool {
        !self.search.is_empty() || !self.tenant.is_empty() || self.state.is_some()
    }

    /// Returns the link to another page of the same query.
    pub(super) fn link_to(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in [
            ("q", self.search.as_str()),
            ("tenant", &self.tenant),
            ("state", self.state.map_or("", MachineState::as_str)),
        ] {
            if !value.is_empty() {
                query.append_pair(key, value);
            }
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        format!("?{}#machines", query.finish())
    }

    /// The machines of a tenant in one state.
    pub(super) fn of_tenant(tenant: &str, state: MachineState) -> Self {
        Self { search: String::new(), tenant: tenant.to_owned(), state: Some(state), page: 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything() -> MachineQuery {
        MachineQuery { search: String::new(), tenant: String::new(), state: None, page: 1 }
    }

    #[test]
    fn invalid_values_are_ignored() {
        for query in [
            "",
            "&&==&%&%f",
            "page=0",
            "page=-1",
            "page=two",
            "page=99999999999999999999999",
            "state=Current",
            "q=+%20%09",
            "x=1&Q=1",
        ] {
            assert_eq!(MachineQuery::parse(query), everything(), "{query}");
        }
    }

    #[test]
    fn query_is_parsed_from_the_address() {
        let query = MachineQuery::parse("q=+SRV%2Ddb+&tenant=A%26B&state=stale&page=7&q=other");
        let state = Some(MachineState::Stale);
        assert_eq!(query, MachineQuery { search: "SRV-db".into(), tenant: "A&B".into(), state, page: 7 });
        assert_eq!(query.link_to(8), "?q=SRV-db&tenant=A%26B&state=stale&page=8#machines");
        assert_eq!(everything().link_to(1), "?#machines");
    }

    #[test]
    fn long_search_is_cut() {
        assert_eq!(
            MachineQuery::parse(&format!("q={}", "ö".repeat(9000))).search,
            "ö".repeat(LONGEST_SEARCH)
        );
    }

    proptest! {
        #[test]
        fn any_address_is_valid(query in ".*") {
            MachineQuery::parse(&query);
        }

        #[test]
        fn link_keeps_the_query(search in ".{0,20}", tenant in ".{0,20}", page in 1_usize..) {
            let query = MachineQuery { search: search.trim().to_owned(), tenant, state: None, page };
            let link = query.link_to(page);
            let parsed = link.strip_prefix('?').and_then(|link| link.strip_suffix("#machines")).unwrap();
            prop_assert!(parsed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&%+*-._".contains(&byte)));
            prop_assert_eq!(MachineQuery::parse(parsed), query);
        }
    }
}
