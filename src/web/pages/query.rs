//! The parameters of the pages and downloads: the part of an address after `?`.
//!
//! Of repeated parameters the first counts, and unknown ones are ignored. A value outside a closed list is an error
//! that names the values that exist. A free text that matches nothing gives an empty list, so that saved links keep
//! working.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::fleet::MachineState;
use crate::fleet::overview::NotJudged;
use crate::fleet::policy::PolicyState;
use crate::model::{KbId, ServicingState};
use crate::publish::Snapshot;

/// The longest search text in characters; names are shorter.
const LONGEST_SEARCH: usize = 256;

/// The parameters of a page or download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageQuery {
    /// `q`: part of a name, an id, a group, a platform, a tag or a KB; empty for everything.
    pub(super) search: String,
    /// `tenant`: the index among the fleets; none for all.
    pub(super) tenant: Option<usize>,
    /// `state`: the state of the data; none for all.
    pub(super) state: Option<MachineState>,
    /// `policy`: the index of the policy in effect; 0 by default.
    pub(super) policy: usize,
    /// `policy_state`: the state under the policy in effect; none for all.
    pub(super) policy_state: Option<PolicyState>,
    /// `platform`: the whole platform, in any case.
    pub(super) platform: Option<String>,
    /// `group`: the whole name of the device group, in any case.
    pub(super) group: Option<String>,
    /// `tag`: a whole tag, in any case.
    pub(super) tag: Option<String>,
    /// `kb`: a KB.
    pub(super) kb: Option<WrittenKb>,
    /// `exploited`: whether an exploited update is missing, or an update is exploited.
    pub(super) exploited: Option<bool>,
    /// `deadline`: the UTC days on which the next deadline of a machine that is not overdue passes.
    pub(super) deadline: Option<DayRange>,
    /// `exception`: the index of an exception that covers a missing update or the end of servicing of the machine.
    pub(super) exception: Option<usize>,
    /// `servicing`: the servicing of the version of Windows.
    pub(super) servicing: Option<ServicingState>,
    /// `reason`: the reason why the machine cannot be judged.
    pub(super) reason: Option<NotJudged>,
    /// The parameters of the own labels, in the order of the labels. An empty value selects the machines without one.
    pub(super) labels: Vec<Option<String>>,
    /// `sort`: one of the orders of the page; its first one by default.
    pub(super) sort: Option<&'static str>,
    /// `page`: from 1, may be beyond the last page; 0 stands for 1.
    pub(super) page: usize,
    /// `refresh=off`: the page does not refresh itself.
    pub(super) is_fixed: bool,
}

/// A KB as written in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenKb {
    pub(super) text: String,
    /// None if the text is no KB; no machine misses it.
    pub(super) kb: Option<KbId>,
}

impl WrittenKb {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), kb: kb_named(text) }
    }
}

/// Days in a row, written as `2027-01-31`, or as `2027-01-31/2027-02-06` if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DayRange {
    pub(super) first: Date,
    pub(super) last: Date,
}

impl DayRange {
    pub(super) fn day(day: Date) -> Self {
        Self { first: day, last: day }
    }

    pub(super) fn contains(self, day: Date) -> bool {
        self.first <= day && day <= self.last
    }
}

impl FromStr for DayRange {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((first, last)) => Ok(Self { first: first.parse()?, last: last.parse()? }),
            None => text.parse().map(Self::day),
        }
    }
}

impl fmt::Display for DayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}/{last}") }
    }
}

/// A value outside the closed list of its parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidParameter {
    name: &'static str,
    value: String,
    allowed: Vec<String>,
}

impl fmt::Display for InvalidParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, allowed } = self;
        writeln!(f, "invalid value {value:?} of the parameter {name}; these exist:")?;
        allowed.iter().try_for_each(|value| writeln!(f, "{value}"))
    }
}

impl PageQuery {
    /// Parses `text` for a page with these orders. Names of tenants, policies and own labels are those of `snapshot`.
    pub(super) fn parse(
        text: &str,
        snapshot: &Snapshot,
        orders: &[&'static str],
    ) -> Result<Self, InvalidParameter> {
        let parameters = Parameters(form_urlencoded::parse(text.as_bytes()).into_owned().collect());
        let tenants = snapshot.fleets.iter().map(|fleet| &*fleet.tenant);
        let policies = snapshot.policies.iter().map(|policy| &*policy.name);
        let exceptions = snapshot.exceptions.iter().map(|exception| &*exception.name);
        let label = |name: &str| parameters.first(name).map(str::to_owned);
        let refresh = parameters.one_of("refresh", ["on", "off"])?;
        let sort = parameters.one_of("sort", orders.iter().copied())?;
        Ok(Self {
            search: parameters.text("q").unwrap_or_default().trim().chars().take(LONGEST_SEARCH).collect(),
            tenant: parameters.one_of("tenant", tenants)?,
            state: parameters.word("state", MachineState::ALL, MachineState::as_str)?,
            policy: parameters.one_of("policy", policies)?.unwrap_or_default(),
            policy_state: parameters.word("policy_state", PolicyState::ALL, PolicyState::as_str)?,
            platform: parameters.text("platform"),
            group: parameters.text("group"),
            tag: parameters.text("tag"),
            kb: parameters.text("kb").as_deref().map(WrittenKb::new),
            exploited: parameters.word(
                "exploited",
                [true, false],
                |value| {
                    if value { "true" } else { "false" }
                },
            )?,
            deadline: parameters.parsed("deadline", "a day such as 2027-01-31")?,
            exception: parameters.one_of("exception", exceptions)?,
            servicing: parameters.word("servicing", ServicingState::ALL, ServicingState::as_str)?,
            reason: parameters.word("reason", NotJudged::ALL, NotJudged::as_str)?,
            labels: snapshot.labels.iter().map(|own| label(&own.name)).collect(),
            sort: sort.map(|place| orders[place]),
            page: parameters.page()?,
            is_fixed: refresh == Some(1),
        })
    }

    /// Returns whether the query excludes machines.
    pub(super) fn is_filtered(&self) -> bool {
        let every = Self {
            policy: self.policy,
            sort: self.sort,
            page: self.page,
            is_fixed: self.is_fixed,
            labels: vec![None; self.labels.len()],
            ..Self::default()
        };
        *self != every
    }

    /// The query of a link to another page: what applies to all pages, without filters of rows.
    pub(super) fn kept(&self) -> Self {
        Self {
            policy: self.policy,
            tenant: self.tenant,
            is_fixed: self.is_fixed,
            labels: vec![None; self.labels.len()],
            ..Self::default()
        }
    }

    /// The query with a change, on its first page.
    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut query = Self { page: 1, ..self.clone() };
        change(&mut query);
        query
    }

    /// The parameters as the end of an address, with `?`; empty without parameters.
    pub(super) fn suffix(&self, snapshot: &Snapshot) -> String {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.parameters(snapshot) {
            parameters.append_pair(&name, &value);
        }
        let text = parameters.finish();
        if text.is_empty() { text } else { format!("?{text}") }
    }

    /// The names and values of the parameters that differ from the defaults.
    pub(super) fn parameters(&self, snapshot: &Snapshot) -> Vec<(String, String)> {
        let name_of_tenant = |tenant: usize| snapshot.fleets[tenant].tenant.to_string();
        let policy = (self.policy > 0).then(|| snapshot.policies[self.policy].name.to_string());
        let name_of_exception = |exception: usize| snapshot.exceptions[exception].name.to_string();
        let text = |value: &Option<String>| value.clone();
        let word = |value: Option<&'static str>| value.map(str::to_owned);
        let fixed = [
            ("q", (!self.search.is_empty()).then(|| self.search.clone())),
            ("tenant", self.tenant.map(name_of_tenant)),
            ("policy", policy),
            ("policy_state", word(self.policy_state.map(PolicyState::as_str))),
            ("state", word(self.state.map(MachineState::as_str))),
            ("reason", word(self.reason.map(NotJudged::as_str))),
            ("servicing", word(self.servicing.map(ServicingState::as_str))),
            ("exploited", self.exploited.map(|value| value.to_string())),
            ("deadline", self.deadline.map(|days| days.to_string())),
            ("exception", self.exception.map(name_of_exception)),
            ("platform", text(&self.platform)),
            ("group", text(&self.group)),
            ("tag", text(&self.tag)),
            ("kb", self.kb.as_ref().map(|kb| kb.text.clone())),
        ];
        let labels = snapshot.labels.iter().zip(&self.labels);
        let labels = labels.filter_map(|(label, value)| Some((label.name.to_string(), value.clone()?)));
        let last = [
            ("sort", word(self.sort)),
            ("page", (self.page > 1).then(|| self.page.to_string())),
            ("refresh", self.is_fixed.then(|| "off".to_owned())),
        ];
        let named = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
        fixed.into_iter().filter_map(named).chain(labels).chain(last.into_iter().filter_map(named)).collect()
    }
}

/// The parameters of an address, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter; an empty one counts as not given, because forms send it.
    fn given(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.given(name).map(str::to_owned)
    }

    /// The place of the value of a parameter among `allowed`.
    fn one_of<'a>(
        &self,
        name: &'static str,
        allowed: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<usize>, InvalidParameter> {
        let Some(value) = self.given(name) else { return Ok(None) };
        let allowed: Vec<_> = allowed.into_iter().collect();
        match allowed.iter().position(|other| *other == value) {
            Some(place) => Ok(Some(place)),
            None => Err(InvalidParameter {
                name,
                value: value.chars().take(LONGEST_SEARCH).collect(),
                allowed: allowed.into_iter().map(str::to_owned).collect(),
            }),
        }
    }

    fn word<T: Copy>(
        &self,
        name: &'static str,
        all: impl IntoIterator<Item = T>,
        as_str: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, InvalidParameter> {
        let all: Vec<T> = all.into_iter().collect();
        let place = self.one_of(name, all.iter().map(|value| as_str(*value)))?;
        Ok(place.map(|place| all[place]))
    }

    fn parsed<T: FromStr>(&self, name: &'static str, allowed: &str) -> Result<Option<T>, InvalidParameter> {
        let Some(value) = self.given(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| InvalidParameter {
            name,
            value: value.chars().take(LONGEST_SEARCH).collect(),
            allowed: vec![allowed.to_owned()],
        })
    }

    /// The number of the page, from 1.
    fn page(&self) -> Result<usize, InvalidParameter> {
        const ALLOWED: &str = "a number from 1";
        let digits = self.given("page").filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
        match (self.given("page"), digits) {
            (None, _) => Ok(1),
            // A number beyond every page is valid.
            (Some(_), Some(digits)) if digits.bytes().any(|byte| byte != b'0') => {
                Ok(digits.parse().unwrap_or(usize::MAX))
            }
            (Some(value), _) => Err(InvalidParameter {
                name: "page",
                value: value.chars().take(LONGEST_SEARCH).collect(),
                allowed: vec![ALLOWED.to_owned()],
            }),
        }
    }
}

/// The KB that `object` is, with or without `KB`.
pub(super) fn kb_named(object: &str) -> Option<KbId> {
    // A state file of an earlier release may hold shorter numbers.
    KbId::parse(object).or_else(|| KbId::new(object.parse().ok()?))
}
