//! The steps of one tenant, in the order in which the poller would need them.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::report::{CheckSection, StepOutcome};
use super::{cloud, messages};
use crate::clock::Clock;
use crate::config::{Poll, Source, Tenant};
use crate::defender::{ApiError, Client, ListQuery, ProxyMode, QuotaHistory, RetryPolicy, TokenClaims, role};
use crate::error::Chain;
use crate::fleet::MachineId;
use crate::poll::{self, MachineLists, Scope};
use crate::self_metrics::{ApiOperation, TenantMetrics};

/// No call may take longer, whatever `http.timeout` allows.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Nor any step: a list may have many pages, and a small quota holds calls back.
const LONGEST_STEP: Duration = Duration::from_secs(45);

/// A clock that is further off is a failure: Entra allows five minutes.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Tries what `tenant` needs, each thing once: no more than a few calls, and a page of the machine list
/// per 10,000 machines. Takes a minute or two at the very most.
pub async fn examine(mut tenant: Tenant, poll: Poll, clock: Clock, metrics: TenantMetrics) -> CheckSection {
    let mut section = CheckSection::new(&format!("tenant {}", tenant.name));
    let (outcome, text) = cloud::judge(&tenant);
    section.add("cloud", outcome, &text);
    tenant.http.timeout = tenant.http.timeout.min(LONGEST_CALL);
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let (random, history) = (fastrand::Rng::new(), QuotaHistory::default());
    match Client::new(&tenant, ProxyMode::Configured, once, random, history, clock.clone(), metrics) {
        Ok(client) => {
            section.add("connection", StepOutcome::Ok, &messages::connection(&tenant));
            let examination = TenantCheck {
                tenant,
                poll,
                clock,
                client: Arc::new(client),
                section,
                claims: None,
                blocked: None,
            };
            examination.run().await
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
    poll: Poll,
    clock: Clock,
    client: Arc<Client>,
    section: CheckSection,
    /// What the token claims, when there is one that can be read.
    claims: Option<TokenClaims>,
    /// Why no further call makes sense.
    blocked: Option<String>,
}

impl TenantCheck {
    async fn run(mut self) -> CheckSection {
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
        self.their_clock();
        self.section
    }

    async fn token(&mut self) {
        match self.client.token_facts().await {
            Ok(facts) => {
                let left = Duration::try_from(facts.expires.duration_since(self.clock.now()));
                self.section.add("token", StepOutcome::Ok, &messages::token(left.unwrap_or_default()));
                self.claims = facts.claims;
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
            (Some(reason), _) => (StepOutcome::Skipped, reason.clone()),
            (None, None) => (StepOutcome::Skipped, messages::OPAQUE_TOKEN.to_owned()),
            (None, Some(claims)) => self.judge_roles(claims),
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
        let said = |so_what| messages::roles_are_missing(&missing, claims, &self.tenant.auth, so_what);
        match missing[..] {
            [] => (StepOutcome::Ok, needed.join(", ")),
            [only] if only == role(ApiOperation::Machines) && self.goes_without_list() => {
                (StepOutcome::Warning, said(messages::NAMES_ARE_MISSING))
            }
            _ => (StepOutcome::Failed, said("")),
        }
    }

    /// Whether the poller would go on without a machine list.
    fn goes_without_list(&self) -> bool {
        poll::scope_without_list(&self.tenant.machines).is_some()
    }

    /// One step with the API: what it brought, or nothing when it failed or was skipped.
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
        let is_dispensable = is_forbidden && endpoint == ApiOperation::Machines && self.goes_without_list();
        let outcome = if is_dispensable { StepOutcome::Warning } else { StepOutcome::Failed };
        self.section.add(step, outcome, &messages::api(&error, &self.tenant.auth));
        None
    }

    /// The machines in scope, when the lists that the selectors need can be had.
    async fn scope(&mut self) -> Option<Scope> {
        let (client, selectors) = (Arc::clone(&self.client), self.tenant.machines.clone());
        let (mut lists, mut complete) = (MachineLists::default(), true);
        let mut found = |section: &mut CheckSection, step, answer: Option<usize>| match answer {
            Some(machines) => section.add(step, StepOutcome::Ok, &messages::count(machines, "machine")),
            None => complete = false,
        };
        if MachineLists::need_whole(&selectors) {
            let step = "machine list";
            let list = self.call(step, ApiOperation::Machines, client.machines(ListQuery::All)).await;
            found(&mut self.section, step, list.as_ref().map(Vec::len));
            lists.whole = list.unwrap_or_default();
        }
        if let Some(filter) = &selectors.filter {
            let step = "filter";
            let list =
                self.call(step, ApiOperation::Machines, client.machines(ListQuery::Filter(filter))).await;
            found(&mut self.section, step, list.as_ref().map(Vec::len));
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
            found(&mut self.section, "tags", machines);
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
    }

    async fn missing_kbs(&mut self, scope: Option<&Scope>) {
        let step = "getmissingkbs";
        let machine = match (scope.map(to_ask), &self.blocked) {
            (Some(Some(machine)), _) => machine,
            // The reason of all is a better one than that there is no list.
            (_, Some(reason)) => return self.section.add(step, StepOutcome::Skipped, reason),
            (Some(None), None) => {
                return self.section.add(step, StepOutcome::Skipped, messages::NOBODY_TO_ASK);
            }
            (None, None) => return self.section.add(step, StepOutcome::Skipped, messages::NO_LIST),
        };
        let client = Arc::clone(&self.client);
        let answer = async {
            match client.missing_kbs(&machine).await {
                Ok(missing) => Ok(Some(missing.len())),
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

    fn quota(&mut self, scope: Option<&Scope>) {
        let Some(machines) = scope.map(|scope| scope.machines.len()) else {
            return self.section.add("quota", StepOutcome::Skipped, messages::NO_LIST);
        };
        let possible = self.client.sustainable_interval(self.client.calls_made() + machines as u64);
        let interval = self.poll.interval;
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
        let stale_after = self.poll.stale_after;
        let (outcome, text) = match (export.generated_at, age) {
            (Some(at), Some(age)) if age > stale_after => {
                (StepOutcome::Warning, messages::export_is_stale(export.files, at, stale_after))
            }
            _ => (StepOutcome::Ok, messages::export(export.files, age)),
        };
        self.section.add("export list", outcome, &text);
        match client.reach_files(&export).await {
            Ok(()) => {
                self.section.add("export download", StepOutcome::Ok, &format!("from {}", export.host()))
            }
            Err(error) => {
                let text = messages::files_out_of_reach(export.host(), &error);
                self.section.add("export download", StepOutcome::Failed, &text);
            }
        }
    }

    fn their_clock(&mut self) {
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

/// The machine that was seen last: it is the least likely to be gone.
fn to_ask(scope: &Scope) -> Option<MachineId> {
    let newest = scope.machines.iter().max_by_key(|facts| (facts.last_seen, &facts.id));
    newest.map(|facts| facts.id.clone())
}
