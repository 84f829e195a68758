//! The rows of one machine after another.

use std::collections::BTreeMap;
use std::slice;

use jiff::Timestamp;

use super::row::{ReportRow, RowUpdate, RowVerdict};
use super::summary::TenantCounts;
use crate::facts::Facts;
use crate::fleet::overview::NO_DEADLINE;
use crate::fleet::policy::{CompiledPolicies, PolicyState, TenantPolicies, UpdateState, UpdateVerdict};
use crate::fleet::servicing::{CompiledServicing, TenantServicing, version_name};
use crate::fleet::summary::UpdateSummary;
use crate::fleet::{EffectiveFacts, Machine, MissingUpdate, TenantFleet};
use crate::model::{
    CvssScore, Exception, Freshness, KbId, OwnLabel, Policy, ReportState, ServicingSettings, Source,
};

/// What the rows of a report have in common.
#[derive(Debug)]
pub struct ReportTerms<'a> {
    now: Timestamp,
    freshness: Freshness,
    facts: &'a Facts,
    labels: &'a [OwnLabel],
    exceptions: &'a [Exception],
    policy: Option<&'a Policy>,
    compiled: CompiledPolicies<'a>,
    servicing: CompiledServicing<'a>,
}

impl<'a> ReportTerms<'a> {
    /// The terms of a report at `now` under `policy`; none if the configuration has no policies.
    #[must_use]
    pub fn new(
        now: Timestamp,
        freshness: Freshness,
        facts: &'a Facts,
        labels: &'a [OwnLabel],
        (policy, exceptions, servicing): (Option<&'a Policy>, &'a [Exception], &'a ServicingSettings),
    ) -> Self {
        let compared = slice::from_ref(policy.unwrap_or(&NO_DEADLINE));
        let compiled = CompiledPolicies::new(compared, exceptions, now);
        let servicing = CompiledServicing::new(servicing, facts.servicing(), now);
        Self { now, freshness, facts, labels, exceptions, policy, compiled, servicing }
    }

    /// The time of the report.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The missing updates of `machine` that the report lists; none while the machine is not assessed.
    #[must_use]
    pub fn assessed_updates<'m>(&self, machine: &'m Machine) -> Option<&'m [MissingUpdate]> {
        machine.assessed_updates(self.now, &self.freshness)
    }
}

/// Makes the rows of the machines of one tenant.
#[derive(Debug)]
pub struct TenantRows<'a> {
    terms: &'a ReportTerms<'a>,
    tenant: &'a str,
    updates: &'a BTreeMap<KbId, UpdateSummary>,
    policies: TenantPolicies<'a>,
    servicing: TenantServicing<'a>,
    counts: TenantCounts,
}

impl<'a> TenantRows<'a> {
    /// Prepares the rows of a tenant with this source. `updates` must sum up the assessed machines of the tenant at the
    /// time of the report.
    #[must_use]
    pub fn new(
        terms: &'a ReportTerms<'a>,
        tenant: &'a str,
        source: Source,
        updates: &'a BTreeMap<KbId, UpdateSummary>,
    ) -> Self {
        let fleet = TenantFleet { source, ..TenantFleet::new(tenant.into()) };
        let policies = TenantPolicies::new(&terms.compiled, &fleet, updates, terms.facts);
        let servicing = TenantServicing::new(&terms.servicing, tenant);
        Self { terms, tenant, updates, policies, servicing, counts: TenantCounts::new(tenant) }
    }

    /// Calls `take` with each row of `machine`: that of the machine, if it has one, then those of its missing updates
    /// in the order of KBs.
    ///
    /// # Errors
    /// The first error of `take`.
    pub fn of_machine<E>(
        &mut self,
        machine: &Machine,
        mut take: impl FnMut(&ReportRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let ReportTerms { labels, exceptions, .. } = *self.terms;
        let missing_updates = self.terms.assessed_updates(machine);
        let verdicts = missing_updates.map(|missing| self.policies.verdicts(0, machine, missing));
        let states = verdicts.as_ref().map(|verdicts| verdicts.iter().map(|verdict| verdict.state));
        let servicing = self.servicing.of_machine(&machine.facts);
        let is_ended = servicing.decides(machine.state(self.terms.now, &self.terms.freshness));
        let ended = is_ended.then(|| self.policies.servicing_verdict(machine));
        let state = PolicyState::of_machine(machine, states, ended.map(|verdict| verdict.state));
        let verdicts = verdicts.unwrap_or_default();
        self.counts.add(state, missing_updates, &verdicts, is_ended);
        let tags = machine.facts.tags.as_deref();
        let labels: Vec<_> = labels.iter().map(|label| label.value(tags)).collect();
        let mut row = ReportRow {
            tenant: self.tenant,
            machine: &machine.facts,
            labels: &labels,
            update: None,
            servicing: None,
            verdict: None,
            exception: None,
            data_read_at: machine.assessment.as_ref().map(|assessment| assessment.fetched_at),
        };
        let policy = self.terms.policy.map(|policy| &*policy.name);
        let row_verdict = |late_since, rule, deadline, state| {
            policy.map(|policy| RowVerdict { policy, late_since, rule, deadline, state })
        };
        let is_judged = policy.is_none() || state.is_judged();
        let title = ended.map(|_| format!("servicing of {} ended", version_name(&machine.facts)));
        if let Some(verdict) = ended {
            let end = servicing.ended_at;
            row.servicing = title.as_deref();
            row.verdict = row_verdict(end, None, end, verdict.state.into());
            row.exception = verdict.exception.map(|index| &exceptions[index]);
            take(&row)?;
            row.servicing = None;
        } else if !is_judged || missing_updates.is_none_or(<[_]>::is_empty) {
            let late_since = verdicts.iter().map(|verdict| verdict.late_since).min();
            row.verdict = row_verdict(late_since, None, None, state.into());
            take(&row)?;
        }
        for (missing, verdict) in missing_updates.into_iter().flatten().zip(&verdicts) {
            row.update = Some(self.update(missing, verdict));
            let UpdateVerdict { rule, deadline, late_since, state, .. } = *verdict;
            row.verdict = row_verdict(Some(late_since), rule, deadline, state.into());
            row.exception = verdict.exception.map(|index| &exceptions[index]);
            take(&row)?;
        }
        Ok(())
    }

    fn update<'m>(&self, missing: &'m MissingUpdate, verdict: &UpdateVerdict) -> RowUpdate<'m>
    where
        'a: 'm,
    {
        let update = &missing.update;
        let summary = self.updates.get(&update.kb);
        let EffectiveFacts { cvss, vendor_severity, .. } = EffectiveFacts::of(self.terms.facts, [update.kb]);
        RowUpdate {
            kb: update.kb,
            title: summary.map_or(&update.facts.title, |summary| &summary.facts.title),
            severity: update.severity.or(cvss.map(CvssScore::severity)),
            vendor_severity,
            exploited: verdict.exploited,
            released: summary.and_then(|summary| summary.released),
            first_seen: missing.first_seen,
        }
    }

    /// The counts over the machines so far.
    #[must_use]
    pub fn into_counts(self) -> TenantCounts {
        self.counts
    }
}

impl From<UpdateState> for ReportState {
    fn from(state: UpdateState) -> Self {
        match state {
            UpdateState::Overdue => Self::Overdue,
            UpdateState::Accepted => Self::Accepted,
            UpdateState::Due => Self::Due,
            UpdateState::Unlimited => Self::None,
            UpdateState::Unknown => Self::Unknown,
        }
    }
}

impl From<PolicyState> for ReportState {
    fn from(state: PolicyState) -> Self {
        match state {
            PolicyState::Compliant => Self::Compliant,
            PolicyState::Due => Self::Due,
            PolicyState::Overdue => Self::Overdue,
            PolicyState::Accepted => Self::Accepted,
            PolicyState::Unknown => Self::Unknown,
            PolicyState::Unsupported => Self::Unsupported,
        }
    }
}
