//! The steps of one tenant, in the order in which the poller would need them.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::report::{Outcome, Section};
use super::{cloud, wording};
use crate::clock::Clock;
use crate::config::{Poll, Source, Tenant};
use crate::defender::{ApiError, CallHistory, Claims, Client, ListQuery, RetryPolicy, Route, role};
use crate::error::Chain;
use crate::fleet::MachineId;
use crate::poll::{self, Lists, Scope};
use crate::selfmon::{Endpoint, TenantMetrics};

/// No call may take longer, whatever `http.timeout` allows.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Nor any step: a list may have many pages, and a small quota holds calls back.
const LONGEST_STEP: Duration = Duration::from_secs(45);

/// A clock that is further off is a failure: Entra allows five minutes.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Tries what `tenant` needs, each thing once: no more than a few calls, and a page of the machine list
/// per 10,000 machines. Takes a minute or two at the very most.
pub async fn examine(mut tenant: Tenant, poll: Poll, clock: Clock, metrics: TenantMetrics) -> Section {
    let mut section = Section::new(&format!("tenant {}", tenant.name));
    let (outcome, text) = cloud::judge(&tenant);
    section.add("cloud", outcome, &text);
    tenant.http.timeout = tenant.http.timeout.min(LONGEST_CALL);
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let (random, history) = (fastrand::Rng::new(), CallHistory::default());
    match Client::new(&tenant, Route::Configured, once, random, history, clock.clone(), metrics) {
        Ok(client) => {
            section.add("connection", Outcome::Ok, &wording::connection(&tenant));
            let examination = Examination {
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
            section.add("connection", Outcome::Failed, &Chain(&error).to_string());
            section.add("token", Outcome::Skipped, wording::NO_CONNECTION);
            section
        }
    }
}

struct Examination {
    tenant: Tenant,
    poll: Poll,
    clock: Clock,
    client: Arc<Client>,
    section: Section,
    /// What the token claims, when there is one that can be read.
    claims: Option<Claims>,
    /// Why no further call makes sense.
    blocked: Option<String>,
}

impl Examination {
    async fn run(mut self) -> Section {
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
                self.section.add("token", Outcome::Ok, &wording::token(left.unwrap_or_default()));
                self.claims = facts.claims;
            }
            Err(error) => {
                self.section.add("token", Outcome::Failed, &wording::no_token(&error, &self.tenant.auth));
                self.blocked = Some(wording::NO_TOKEN.to_owned());
            }
        }
    }

    fn roles(&mut self) {
        let (outcome, text) = match (&self.blocked, &self.claims) {
            (Some(reason), _) => (Outcome::Skipped, reason.clone()),
            (None, None) => (Outcome::Skipped, wording::OPAQUE_TOKEN.to_owned()),
            (None, Some(claims)) => self.judge_roles(claims),
        };
        self.section.add("roles", outcome, &text);
    }

    fn judge_roles(&self, claims: &Claims) -> (Outcome, String) {
        let data = match self.tenant.source {
            Source::Machines => Endpoint::MissingKbs,
            Source::Export => Endpoint::Export,
        };
        let needed = [role(Endpoint::Machines), role(data)];
        let missing: Vec<_> = needed.into_iter().filter(|role| !claims.has(role)).collect();
        let said = |so_what| wording::roles_are_missing(&missing, claims, &self.tenant.auth, so_what);
        match missing[..] {
            [] => (Outcome::Ok, needed.join(", ")),
            [only] if only == role(Endpoint::Machines) && self.goes_without_list() => {
                (Outcome::Warning, said(wording::NAMES_ARE_MISSING))
            }
            _ => (Outcome::Failed, said("")),
        }
    }

    /// Whether the poller would go on without a machine list.
    fn goes_without_list(&self) -> bool {
        poll::unlisted(&self.tenant.machines).is_some()
    }

    /// One step with the API: what it brought, or nothing when it failed or was skipped.
    async fn call<T>(
        &mut self,
        step: &'static str,
        endpoint: Endpoint,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Option<T> {
        let role = role(endpoint);
        let lacks_role = self.claims.as_ref().is_some_and(|claims| !claims.has(role));
        let lacking = || lacks_role.then(|| wording::role_is_missing(role));
        if let Some(reason) = self.blocked.clone().or_else(lacking) {
            self.section.add(step, Outcome::Skipped, &reason);
            return None;
        }
        let error = match timeout(LONGEST_STEP, work).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                self.section.add(step, Outcome::Failed, &wording::takes_too_long(LONGEST_STEP));
                return None;
            }
        };
        let is_forbidden = matches!(error, ApiError::Forbidden { .. });
        let stops = error.stops_the_poll() && !is_forbidden || poll::is_unreachable(&error);
        if stops {
            self.blocked = Some(wording::after(step));
        }
        let is_dispensable = is_forbidden && endpoint == Endpoint::Machines && self.goes_without_list();
        let outcome = if is_dispensable { Outcome::Warning } else { Outcome::Failed };
        self.section.add(step, outcome, &wording::api(&error, &self.tenant.auth));
        None
    }

    /// The machines in scope, when the lists that the selectors need can be had.
    async fn scope(&mut self) -> Option<Scope> {
        let (client, selectors) = (Arc::clone(&self.client), self.tenant.machines.clone());
        let (mut lists, mut complete) = (Lists::default(), true);
        let mut found = |section: &mut Section, step, answer: Option<usize>| match answer {
            Some(machines) => section.add(step, Outcome::Ok, &wording::count(machines, "machine")),
            None => complete = false,
        };
        if Lists::need_whole(&selectors) {
            let step = "machine list";
            let list = self.call(step, Endpoint::Machines, client.machines(ListQuery::All)).await;
            found(&mut self.section, step, list.as_ref().map(Vec::len));
            lists.whole = list.unwrap_or_default();
        }
        if let Some(filter) = &selectors.filter {
            let step = "filter";
            let list = self.call(step, Endpoint::Machines, client.machines(ListQuery::Filter(filter))).await;
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
            let tagged = self.call("tags", Endpoint::FindByTag, all_tags).await;
            let machines = tagged.as_ref().map(|tagged| tagged.iter().map(|(_, list)| list.len()).sum());
            found(&mut self.section, "tags", machines);
            lists.tagged = tagged.unwrap_or_default();
        }
        if complete {
            let scope = lists.select(&selectors);
            self.selectors(&scope);
            return Some(scope);
        }
        self.section.add("selectors", Outcome::Skipped, wording::NO_LIST);
        poll::unlisted(&selectors)
    }

    fn selectors(&mut self, scope: &Scope) {
        let machines = scope.machines.len();
        if machines == 0 || !scope.unmatched.is_empty() {
            let text = wording::nothing_found(machines, &scope.unmatched);
            self.section.add("selectors", Outcome::Warning, &text);
        } else {
            let text = format!("{} in scope", wording::count(machines, "machine"));
            self.section.add("selectors", Outcome::Ok, &text);
        }
    }

    async fn missing_kbs(&mut self, scope: Option<&Scope>) {
        let step = "getmissingkbs";
        let machine = match (scope.map(to_ask), &self.blocked) {
            (Some(Some(machine)), _) => machine,
            // The reason of all is a better one than that there is no list.
            (_, Some(reason)) => return self.section.add(step, Outcome::Skipped, reason),
            (Some(None), None) => return self.section.add(step, Outcome::Skipped, wording::NOBODY_TO_ASK),
            (None, None) => return self.section.add(step, Outcome::Skipped, wording::NO_LIST),
        };
        let client = Arc::clone(&self.client);
        let answer = async {
            match client.missing_kbs(&machine).await {
                Ok(missing) => Ok(Some(missing.len())),
                Err(ApiError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match self.call(step, Endpoint::MissingKbs, answer).await {
            Some(Some(missing)) => {
                let text = format!("machine {machine} misses {}", wording::count(missing, "update"));
                self.section.add(step, Outcome::Ok, &text);
            }
            Some(None) => {
                self.section.add(step, Outcome::Warning, &wording::not_found_now(machine.as_str()));
            }
            None => {}
        }
    }

    fn quota(&mut self, scope: Option<&Scope>) {
        let Some(machines) = scope.map(|scope| scope.machines.len()) else {
            return self.section.add("quota", Outcome::Skipped, wording::NO_LIST);
        };
        let possible = self.client.sustainable_interval(self.client.calls_made() + machines as u64);
        let interval = self.poll.interval;
        let (outcome, text) = if possible > interval {
            (Outcome::Warning, wording::quota_is_short(machines, interval, possible))
        } else {
            let interval = humantime::format_duration(interval);
            (Outcome::Ok, format!("enough for {} every {interval}", wording::count(machines, "machine")))
        };
        self.section.add("quota", outcome, &text);
    }

    async fn export(&mut self) {
        let client = Arc::clone(&self.client);
        let list = self.call("export list", Endpoint::Export, client.export_list()).await;
        let Some(export) = list else {
            return self.section.add("export download", Outcome::Skipped, wording::NO_EXPORT_LIST);
        };
        let age = export.generated_at.map(|at| self.clock.now().duration_since(at));
        let age = age.and_then(|age| Duration::try_from(age).ok());
        let stale_after = self.poll.stale_after;
        let (outcome, text) = match (export.generated_at, age) {
            (Some(at), Some(age)) if age > stale_after => {
                (Outcome::Warning, wording::export_is_stale(export.files, at, stale_after))
            }
            _ => (Outcome::Ok, wording::export(export.files, age)),
        };
        self.section.add("export list", outcome, &text);
        match client.reach_files(&export).await {
            Ok(()) => self.section.add("export download", Outcome::Ok, &format!("from {}", export.host())),
            Err(error) => {
                let text = wording::files_out_of_reach(export.host(), &error);
                self.section.add("export download", Outcome::Failed, &text);
            }
        }
    }

    fn their_clock(&mut self) {
        let (outcome, text) = match self.client.their_clock_ahead() {
            None => (Outcome::Skipped, wording::NO_TIME.to_owned()),
            Some(ahead) if ahead.abs() > CLOCK_TOLERANCE => (Outcome::Failed, wording::clock_is_wrong(ahead)),
            Some(ahead) => (Outcome::Ok, wording::clock_is_fine(ahead)),
        };
        self.section.add("clock", outcome, &text);
    }
}

/// The machine that was seen last: it is the least likely to be gone.
fn to_ask(scope: &Scope) -> Option<MachineId> {
    let newest = scope.machines.iter().max_by_key(|facts| (facts.last_seen, &facts.id));
    newest.map(|facts| facts.id.clone())
}
