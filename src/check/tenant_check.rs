//! The steps of one tenant, in the order in which the poller depends on them.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::judgement::{is_asked, judgement, unused_presets};
use super::report::{CheckSection, StepOutcome};
use super::settings::CheckedSettings;
use super::{cloud, hosts, messages, servicing};
use crate::clock::Clock;
use crate::config::{Auth, Tenant};
use crate::defender::{
    ApiError, Client, HostPurpose, ListQuery, QuotaHistory, RetryPolicy, TokenClaims, role,
};
use crate::error::Chain;
use crate::fleet::MachineFacts;
use crate::http::ProxyMode;
use crate::model::{ApiOperation, MachineId, Source};
use crate::poll::{self, MachineLists, Scope};
use crate::self_metrics::TenantMetrics;

/// Time limit of a call, even if `http.timeout` is longer.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Time limit of a step: a list may have many pages, and a small quota delays calls.
const LONGEST_STEP: Duration = Duration::from_secs(45);

/// Largest clock skew that Entra tolerates.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Tries everything that `tenant` needs once. Makes a few calls, and one for each page of the machine list
/// (10,000 machines). Takes at most one or two minutes.
pub async fn examine(
    mut tenant: Tenant,
    settings: Arc<CheckedSettings>,
    clock: Clock,
    metrics: TenantMetrics,
) -> CheckSection {
    let mut section = CheckSection::new(&format!("tenant {}", tenant.name));
    let (outcome, text) = cloud::judge(&tenant);
    section.add("cloud", outcome, &text);
    tenant.http.timeout = tenant.http.timeout.min(LONGEST_CALL);
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let random = fastrand::Rng::new();
    let history = QuotaHistory::default();
    match Client::new(&tenant, ProxyMode::Configured, once, random, history, clock.clone(), metrics) {
        Ok(client) => {
            let check = TenantCheck {
                tenant,
                settings,
                clock,
                client: Arc::new(client),
                section,
                has_token_endpoint: true,
                has_api: true,
                claims: None,
                blocked: None,
            };
            check.run().await
        }
        Err(error) => {
            section.add("connection", StepOutcome::Failed, &Chain(&error).to_string());
            section.add("token", StepOutcome::Skipped, messages::NO_CONNECTION);
            section
        }
    }
}

struct TenantCheck {
    tenant: Tenant,
    settings: Arc<CheckedSettings>,
    clock: Clock,
    client: Arc<Client>,
    section: CheckSection,
    has_token_endpoint: bool,
    has_api: bool,
    /// The claims of the token; none without a readable token.
    claims: Option<TokenClaims>,
    /// The reason why every further call would fail.
    blocked: Option<String>,
}

impl TenantCheck {
    async fn run(mut self) -> CheckSection {
        self.connection().await;
        self.certificate();
        self.token().await;
        self.roles();
        let scope = self.scope().await;
        match self.tenant.source {
            Source::Machines => {
                self.missing_kbs(scope.as_ref()).await;
                self.quota(scope.as_ref());
            }
            Source::Export => self.export().await,
        }
        self.clock_skew_step();
        self.section
    }

    /// Connects to the hosts. Without the token endpoint nothing else can work; without the API, a token can
    /// still be taken.
    async fn connection(&mut self) {
        let hosts = self.client.connect(&self.tenant).await;
        let mut are_connected = true;
        for connection in &hosts {
            if let Err(error) = &connection.outcome {
                are_connected = false;
                let text = hosts::not_connected(connection, error, &self.tenant);
                self.section.add("connection", StepOutcome::Failed, &text);
                match connection.purpose {
                    HostPurpose::Tokens => self.has_token_endpoint = false,
                    HostPurpose::Api => self.has_api = false,
                }
            }
        }
        if are_connected {
            let text = hosts::connected(&hosts, &self.tenant.http);
            self.section.add("connection", StepOutcome::Ok, &text);
        }
    }

    fn certificate(&mut self) {
        let Auth::ClientCertificate(path) = &self.tenant.auth else { return };
        let (outcome, text) = match Client::certificate_validity(path) {
            Ok(validity) => hosts::certificate(validity, self.clock.now()),
            Err(error) => (StepOutcome::Failed, hosts::no_certificate(&error)),
        };
        self.section.add("certificate", outcome, &text);
    }

    async fn token(&mut self) {
        if !self.has_token_endpoint {
            self.section.add("token", StepOutcome::Skipped, messages::NO_CONNECTION);
            self.blocked = Some(messages::NO_CONNECTION.to_owned());
            return;
        }
        match self.client.token_facts().await {
            Ok(facts) => {
                let left = Duration::try_from(facts.expires.duration_since(self.clock.now()));
                self.section.add("token", StepOutcome::Ok, &messages::token(left.unwrap_or_default()));
                self.claims = facts.claims;
                if !self.has_api {
                    self.blocked = Some(messages::NO_CONNECTION.to_owned());
                }
            }
            Err(error) => {
                self.section.add(
                    "token",
                    StepOutcome::Failed,
                    &messages::no_token(&error, &self.tenant.auth),
                );
                self.blocked = Some(messages::NO_TOKEN.to_owned());
            }
        }
    }

    fn roles(&mut self) {
        let (outcome, text) = match (&self.blocked, &self.claims) {
            (_, Some(claims)) => self.judge_roles(claims),
            (Some(reason), None) => (StepOutcome::Skipped, reason.clone()),
            (None, None) => (StepOutcome::Skipped, messages::OPAQUE_TOKEN.to_owned()),
        };
        self.section.add("roles", outcome, &text);
    }

    fn judge_roles(&self, claims: &TokenClaims) -> (StepOutcome, String) {
        let data = match self.tenant.source {
            Source::Machines => ApiOperation::MissingKbs,
            Source::Export => ApiOperation::Export,
        };
        let needed = [role(ApiOperation::Machines), role(data)];
        let missing: Vec<_> = needed.into_iter().filter(|role| !claims.has(role)).collect();
        let message = |effect| messages::roles_are_missing(&missing, claims, &self.tenant.auth, effect);
        match missing[..] {
            [] => (StepOutcome::Ok, needed.join(", ")),
            [only] if only == role(ApiOperation::Machines) && self.can_work_without_list() => {
                (StepOutcome::Warning, message(messages::NAMES_ARE_MISSING))
            }
            _ => (StepOutcome::Failed, message("")),
        }
    }

    /// Returns whether the poller would continue without a machine list.
    fn can_work_without_list(&self) -> bool {
        poll::scope_without_list(&self.tenant.machines).is_some()
    }

    /// Runs a step that calls the API. Returns its result, or none if it failed or was skipped.
    async fn call<T>(
        &mut self,
        step: &'static str,
        endpoint: ApiOperation,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Option<T> {
        let role = role(endpoint);
        let lacks_role = self.claims.as_ref().is_some_and(|claims| !claims.has(role));
        let lacking = || lacks_role.then(|| messages::role_is_missing(role));
        if let Some(reason) = self.blocked.clone().or_else(lacking) {
            self.section.add(step, StepOutcome::Skipped, &reason);
            return None;
        }
        let error = match timeout(LONGEST_STEP, work).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                self.section.add(step, StepOutcome::Failed, &messages::takes_too_long(LONGEST_STEP));
                return None;
            }
        };
        let is_forbidden = matches!(error, ApiError::Forbidden { .. });
        let stops = error.stops_the_poll() && !is_forbidden || poll::is_unreachable(&error);
        if stops {
            self.blocked = Some(messages::after(step));
        }
        let is_dispensable =
            is_forbidden && endpoint == ApiOperation::Machines && self.can_work_without_list();
        let outcome = if is_dispensable { StepOutcome::Warning } else { StepOutcome::Failed };
        self.section.add(step, outcome, &messages::api(&error, &self.tenant.auth));
        None
    }

    /// Returns the machines in scope, if the lists that the selectors need could be fetched.
    async fn scope(&mut self) -> Option<Scope> {
        let client = Arc::clone(&self.client);
        let selectors = self.tenant.machines.clone();
        let mut lists = MachineLists::default();
        let mut complete = true;
        let mut add_step = |section: &mut CheckSection, step, answer: Option<usize>| match answer {
            Some(machines) => section.add(step, StepOutcome::Ok, &messages::count(machines, "machine")),
            None => complete = false,
        };
        if MachineLists::need_all(&selectors) {
            let step = "machine list";
            let list = self.call(step, ApiOperation::Machines, client.machines(ListQuery::All)).await;
            add_step(&mut self.section, step, list.as_ref().map(Vec::len));
            lists.all = list.unwrap_or_default();
        }
        if let Some(filter) = &selectors.filter {
            let step = "filter";
            let list =
                self.call(step, ApiOperation::Machines, client.machines(ListQuery::Filter(filter))).await;
            add_step(&mut self.section, step, list.as_ref().map(Vec::len));
            lists.filtered = list.unwrap_or_default();
        }
        if !selectors.tags.is_empty() {
            let all_tags = async {
                let mut tagged = Vec::new();
                for tag in &selectors.tags {
                    tagged.push((tag.clone(), client.machines(ListQuery::Tag(tag)).await?));
                }
                Ok(tagged)
            };
            let tagged = self.call("tags", ApiOperation::FindByTag, all_tags).await;
            let machines = tagged.as_ref().map(|tagged| tagged.iter().map(|(_, list)| list.len()).sum());
            add_step(&mut self.section, "tags", machines);
            lists.tagged = tagged.unwrap_or_default();
        }
        if complete {
            let scope = lists.select(&selectors);
            self.selectors(&scope);
            return Some(scope);
        }
        self.section.add("selectors", StepOutcome::Skipped, messages::NO_LIST);
        poll::scope_without_list(&selectors)
    }

    fn selectors(&mut self, scope: &Scope) {
        let machines = scope.machines.len();
        if machines == 0 || !scope.unmatched.is_empty() {
            let text = messages::nothing_found(machines, &scope.unmatched);
            self.section.add("selectors", StepOutcome::Warning, &text);
        } else {
            let text = format!("{} in scope", messages::count(machines, "machine"));
            self.section.add("selectors", StepOutcome::Ok, &text);
        }
        if let Some((outcome, text)) =
            judgement(&scope.machines, self.clock.now(), &self.settings.poll.freshness)
        {
            self.section.add("machines", outcome, &text);
        }
        if let Some(text) = unused_presets(&scope.machines, &self.settings.policies) {
            self.section.add("policies", StepOutcome::Warning, &text);
        }
        for text in servicing::warnings(&self.tenant.name, &scope.machines, &self.settings, self.clock.now())
        {
            self.section.add("servicing", StepOutcome::Warning, &text);
        }
    }

    async fn missing_kbs(&mut self, scope: Option<&Scope>) {
        let step = "getmissingkbs";
        let machine = match (scope.map(|scope| self.last_seen_machine(scope)), &self.blocked) {
            (Some(Some(machine)), _) => machine,
            // The original reason is more useful than the missing list.
            (_, Some(reason)) => return self.section.add(step, StepOutcome::Skipped, reason),
            (Some(None), None) => {
                let is_empty = scope.is_none_or(|scope| scope.machines.is_empty());
                let reason = if is_empty { messages::NO_MACHINE } else { messages::NO_JUDGED_MACHINE };
                return self.section.add(step, StepOutcome::Skipped, reason);
            }
            (None, None) => return self.section.add(step, StepOutcome::Skipped, messages::NO_LIST),
        };
        let client = Arc::clone(&self.client);
        let answer = async {
            match client.missing_kbs(&machine).await {
                Ok(answer) => Ok(Some(answer.updates.len())),
                Err(ApiError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match self.call(step, ApiOperation::MissingKbs, answer).await {
            Some(Some(missing)) => {
                let text = format!("machine {machine} misses {}", messages::count(missing, "update"));
                self.section.add(step, StepOutcome::Ok, &text);
            }
            Some(None) => {
                self.section.add(step, StepOutcome::Warning, &messages::not_found_now(machine.as_str()));
            }
            None => {}
        }
    }

    /// The machines in scope whose missing updates are read.
    fn asked_machines<'a>(&self, scope: &'a Scope) -> impl Iterator<Item = &'a MachineFacts> + use<'a> {
        let (now, freshness) = (self.clock.now(), self.settings.poll.freshness);
        scope.machines.iter().filter(move |facts| is_asked(facts, now, &freshness))
    }

    /// Returns the machine that was seen last, which is the least likely to have left.
    fn last_seen_machine(&self, scope: &Scope) -> Option<MachineId> {
        let newest = self.asked_machines(scope).max_by_key(|facts| (facts.last_seen, &facts.id));
        newest.map(|facts| facts.id.clone())
    }

    fn quota(&mut self, scope: Option<&Scope>) {
        let Some(machines) = scope.map(|scope| self.asked_machines(scope).count()) else {
            return self.section.add("quota", StepOutcome::Skipped, messages::NO_LIST);
        };
        let possible = self.client.sustainable_interval(self.client.calls_made() + machines as u64);
        let interval = self.settings.poll.interval;
        let (outcome, text) = if possible > interval {
            (StepOutcome::Warning, messages::quota_is_short(machines, interval, possible))
        } else {
            let interval = humantime::format_duration(interval);
            (StepOutcome::Ok, format!("enough for {} every {interval}", messages::count(machines, "machine")))
        };
        self.section.add("quota", outcome, &text);
    }

    async fn export(&mut self) {
        let client = Arc::clone(&self.client);
        let list = self.call("export list", ApiOperation::Export, client.export_list()).await;
        let Some(export) = list else {
            return self.section.add("export download", StepOutcome::Skipped, messages::NO_EXPORT_LIST);
        };
        let age = export.generated_at.map(|at| self.clock.now().duration_since(at));
        let age = age.and_then(|age| Duration::try_from(age).ok());
        let stale_after = self.settings.poll.freshness.stale_after;
        let (outcome, text) = match (export.generated_at, age) {
            (Some(at), Some(age)) if age > stale_after => {
                (StepOutcome::Warning, messages::export_is_stale(export.files, at, stale_after))
            }
            _ => (StepOutcome::Ok, messages::export(export.files, age)),
        };
        self.section.add("export list", outcome, &text);
        match client.reach_files(&export).await {
            Ok(()) => {
                self.section.add("export download", StepOutcome::Ok, &format!("from {}", export.host()));
            }
            Err(error) => {
                let text = messages::download_failed(export.host(), &error);
                self.section.add("export download", StepOutcome::Failed, &text);
            }
        }
    }

    fn clock_skew_step(&mut self) {
        let (outcome, text) = match self.client.clock_skew() {
            None => (StepOutcome::Skipped, messages::NO_TIME.to_owned()),
            Some(ahead) if ahead.abs() > CLOCK_TOLERANCE => {
                (StepOutcome::Failed, messages::clock_is_wrong(ahead))
            }
            Some(ahead) => (StepOutcome::Ok, messages::clock_is_fine(ahead)),
        };
        self.section.add("clock", outcome, &text);
    }
}
