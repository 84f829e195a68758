//! What a person asks of the page: the part of its address after `?`.
//!
//! Whatever stands there is a question that can be answered: what cannot be read is as if it was not
//! there, of a key that is repeated the first one counts, and a page beyond the last is the last.

use crate::fleet::MachineState;

/// Names are shorter; more only costs time.
const LONGEST_SEARCH: usize = 256;

/// Which machines are to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Part of a name, or a whole id; empty for every machine.
    pub(super) search: String,
    /// Name of a tenant; empty for all.
    pub(super) tenant: String,
    /// None for all.
    pub(super) state: Option<MachineState>,
    /// From 1; may be beyond the last one.
    pub(super) page: usize,
}

impl Wanted {
    pub(super) fn parse(query: &str) -> Self {
        let value = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(found, _)| found == key).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let state = value("state");
        Self {
            search: value("q").trim().chars().take(LONGEST_SEARCH).collect(),
            tenant: value("tenant"),
            state: MachineState::ALL.into_iter().find(|known| known.as_str() == state),
            page: value("page").parse().unwrap_or(1).max(1),
        }
    }

    /// Whether it leaves machines out.
    pub(super) fn is_narrowed(&self) -> bool {
        !self.search.is_empty() || !self.tenant.is_empty() || self.state.is_some()
    }

    /// The same question for another page, as a link from this page.
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

    /// The machines of a tenant that are in a state.
    pub(super) fn of_tenant(tenant: &str, state: MachineState) -> Self {
        Self { search: String::new(), tenant: tenant.to_owned(), state: Some(state), page: 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything() -> Wanted {
        Wanted { search: String::new(), tenant: String::new(), state: None, page: 1 }
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_was_not_there() {
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
            assert_eq!(Wanted::parse(query), everything(), "{query}");
        }
    }

    #[test]
    fn question_is_read_from_the_address() {
        let asked = Wanted::parse("q=+SRV%2Ddb+&tenant=A%26B&state=stale&page=7&q=other");
        let state = Some(MachineState::Stale);
        assert_eq!(asked, Wanted { search: "SRV-db".into(), tenant: "A&B".into(), state, page: 7 });
        assert_eq!(asked.link_to(8), "?q=SRV-db&tenant=A%26B&state=stale&page=8#machines");
        assert_eq!(everything().link_to(1), "?#machines");
    }

    #[test]
    fn endless_search_is_cut() {
        assert_eq!(Wanted::parse(&format!("q={}", "ö".repeat(9000))).search, "ö".repeat(LONGEST_SEARCH));
    }

    proptest! {
        #[test]
        fn any_address_can_be_read(query in ".*") {
            Wanted::parse(&query);
        }

        #[test]
        fn link_asks_the_same_again(search in ".{0,20}", tenant in ".{0,20}", page in 1_usize..) {
            let asked = Wanted { search: search.trim().to_owned(), tenant, state: None, page };
            let link = asked.link_to(page);
            let query = link.strip_prefix('?').and_then(|link| link.strip_suffix("#machines")).unwrap();
            prop_assert!(query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&%+*-._".contains(&byte)));
            prop_assert_eq!(Wanted::parse(query), asked);
        }
    }
}
