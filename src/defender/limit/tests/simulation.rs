//! Days of calls against an API that counts calls itself, with workers, delays, refusals and restarts.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::defender::CallRecorder;

/// The number of concurrent requests of a poll.
const WORKERS: usize = 8;

/// One run.
#[derive(Clone, Debug)]
struct Plan {
    quota: (u32, u32, f64),
    /// Sizes of the fleet, swept one after the other, with hours of idling in between.
    sweeps: Vec<(usize, u32)>,
    /// The longest reply.
    latency: Duration,
    /// One call in so many is for a machine list, or for the export list.
    other_calls: u64,
    /// One reply in so many is a 429; none when 0.
    refusals: u64,
    /// The process ends at about one call in so many; never when 0.
    restarts: u64,
    seed: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let quota = (prop_oneof![1..10_u32, 10..120_u32], prop_oneof![1..60_u32, 60..3000_u32], 0.05..=1.0_f64);
    // In relation to the hour, so that small quotas do not take years.
    let sweeps = proptest::collection::vec((0.01..8.0_f64, 0..5_u32), 1..5);
    let times = (10..2500_u64, prop_oneof![Just(0), 20..400_u64], prop_oneof![Just(0), 20..600_u64]);
    (quota, sweeps, times, 5..60_u64, any::<u64>()).prop_map(|(quota, sweeps, times, other_calls, seed)| {
        let hourly = f64::from(quota.1) * quota.2;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand machines")]
        let machines = |hours: f64| ((hours * hourly) as usize).clamp(1, 5000);
        let (latency, refusals, restarts) = times;
        let sweeps = sweeps.into_iter().map(|(hours, idle)| (machines(hours), idle)).collect();
        let latency = Duration::from_millis(latency);
        Plan { quota, sweeps, latency, other_calls, refusals, restarts, seed }
    })
}

/// The observations outside of the limiter.
#[derive(Debug, Default)]
struct World {
    /// Time and operation of the calls that arrived at the API.
    arrivals: Vec<(Instant, ApiOperation)>,
    /// The times of the grants.
    granted: Vec<Instant>,
    /// The recorded calls, in milliseconds as in the state file.
    recorder: Vec<(Timestamp, ApiOperation)>,
    /// Pauses requested by the API, until the process ends.
    silent_until: Option<Instant>,
    /// Waiting callers by operation.
    asked: [VecDeque<u64>; 2],
    next_ticket: u64,
}

type Shared = Arc<Mutex<World>>;

fn see(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

/// The limiter of a new process.
fn restart(plan: &Plan, world: &Shared, clock: &Clock) -> Limiter {
    {
        let mut world = see(world);
        (world.silent_until, world.asked) = (None, Default::default());
    }
    let metrics = Arc::new(SelfMetrics::new("test")).tenant("contoso");
    let noted = Arc::clone(world);
    let recorder: CallRecorder = Arc::new(move |at, endpoint| {
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap();
        see(&noted).recorder.push((at, endpoint));
        Box::pin(tokio::time::sleep(Duration::from_millis(1)))
    });
    let kept = clock.now() - HOUR - Duration::from_secs(10);
    let made = see(world).recorder.iter().filter(|(at, _)| *at > kept).copied().collect();
    let (per_minute, per_hour, share) = plan.quota;
    let tenant = tenant(per_minute, per_hour, share);
    Limiter::new(&tenant, QuotaHistory { made, recorder: Some(recorder) }, clock.clone(), metrics)
}

/// One request until the API accepts it.
async fn call(limiter: Limiter, world: Shared, endpoint: ApiOperation, plan: Plan, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let kind = usize::from(endpoint == ApiOperation::Export);
    loop {
        let ticket = {
            let mut world = see(&world);
            world.next_ticket += 1;
            let ticket = world.next_ticket;
            world.asked[kind].push_back(ticket);
            ticket
        };
        let permit = limiter.acquire(endpoint, Duration::MAX / 4).await.unwrap();
        let latency = plan.latency.mul_f64(random.f64());
        let transit = latency.mul_f64(random.f64()).min(Duration::from_millis(950));
        {
            let (mut world, now) = (see(&world), Instant::now());
            assert_eq!(world.asked[kind].pop_front(), Some(ticket), "callers are served in order of arrival");
            assert!(world.silent_until.is_none_or(|until| now >= until), "sent before Retry-After");
            world.granted.push(now);
            world.arrivals.push((now + transit, endpoint));
        }
        tokio::time::sleep(latency).await;
        if plan.refusals == 0 || random.u64(0..plan.refusals) > 0 {
            return;
        }
        let wait = Duration::from_secs(random.u64(0..240));
        let texts = ["maximum allowed 45 per 00:01:00", "maximum allowed 1500 per 01:00:00", ""];
        permit.throttled(wait, texts[random.usize(0..3)]);
        let until = Some(Instant::now() + wait);
        let mut world = see(&world);
        world.silent_until = world.silent_until.max(until);
    }
}

/// Reads `machines` one after the other as a poll does, and other calls among them.
async fn sweep(plan: &Plan, world: &Shared, clock: &Clock, machines: usize, random: &mut fastrand::Rng) {
    let mut limiter = restart(plan, world, clock);
    let (mut waiting, mut under_way, mut others) = (machines, JoinSet::new(), JoinSet::new());
    loop {
        while under_way.len() < WORKERS && waiting > 0 {
            let call = |endpoint, random: &mut fastrand::Rng| {
                call(limiter.clone(), Arc::clone(world), endpoint, plan.clone(), random.u64(..))
            };
            under_way.spawn(call(ApiOperation::MissingKbs, random));
            waiting -= 1;
            if random.u64(0..plan.other_calls) == 0 {
                others.spawn(call(ApiOperation::Machines, random));
            }
            if random.u64(0..plan.other_calls) == 0 {
                others.spawn(call(ApiOperation::Export, random));
            }
        }
        let Some(ended) = under_way.join_next().await else { break };
        ended.unwrap();
        while others.try_join_next().is_some_and(|ended| ended.is_ok()) {}
        if plan.restarts > 0 && random.u64(0..plan.restarts) == 0 {
            // Calls in flight are repeated. They may have arrived already.
            waiting += under_way.len();
            (under_way, others) = (JoinSet::new(), JoinSet::new());
            tokio::time::sleep(Duration::from_millis(random.u64(1..120_000))).await;
            limiter = restart(plan, world, clock);
        }
    }
}

/// The earliest times at which calls could be granted from `start` on, after `before`.
fn shortest(before: &[Instant], start: Instant, count: usize, [minute, hour]: [usize; 2]) -> Duration {
    let mut granted = before.to_vec();
    for _ in 0..count {
        let after =
            |limit: usize, window| granted.len().checked_sub(limit).map(|index| granted[index] + window);
        let earliest = [after(minute, MINUTE), after(hour, HOUR)].into_iter().flatten();
        granted.push(earliest.fold(granted.last().map_or(start, |last| start.max(*last)), Instant::max));
    }
    granted.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(start))
}

/// Asserts that no sliding window exceeds the share.
fn assert_windows_hold(arrivals: &[(Instant, ApiOperation)], plan: &Plan) {
    let (per_minute, per_hour, share) = plan.quota;
    let common = [per_minute, per_hour];
    for (limits, counts) in [(common, [true, true]), (EXPORT_LIST, [false, true])] {
        let counted =
            arrivals.iter().filter(|(_, endpoint)| counts[usize::from(*endpoint == ApiOperation::Export)]);
        let mut arrivals: Vec<_> = counted.map(|(at, _)| *at).collect();
        arrivals.sort_unstable();
        for (limit, window) in limits.into_iter().zip([MINUTE, HOUR]) {
            let limit = allowed(limit, share);
            for (last, first) in arrivals.iter().skip(limit).zip(&arrivals) {
                assert!(*last - *first > window, "more than {limit} within {window:?}: {plan:?}");
            }
        }
    }
}

async fn simulate(plan: Plan) {
    let world = Shared::default();
    let clock = Clock::following_tokio(Timestamp::UNIX_EPOCH);
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let (per_minute, per_hour, share) = plan.quota;
    let share = [per_minute, per_hour].map(|limit| allowed(limit, share));
    for (machines, idle_hours) in &plan.sweeps {
        tokio::time::sleep(*idle_hours * HOUR).await;
        let (start, before) = (Instant::now(), see(&world).granted.clone());
        sweep(&plan, &world, &clock, *machines, &mut random).await;
        if plan.refusals == 0 && plan.restarts == 0 {
            let count = see(&world).granted.len() - before.len();
            let (took, shortest) = (start.elapsed(), shortest(&before, start, count, share));
            // Even without a wait, eight workers need some time once.
            let at_once = count.min(share[0]).div_ceil(WORKERS);
            let replies = plan.latency * u32::try_from(at_once + 2).unwrap();
            let allowed = shortest.mul_f64(1.02) + replies + SLACK;
            assert!(took <= allowed, "{count} calls took {took:?}, the quota allows {shortest:?}: {plan:?}");
        }
    }
    assert_windows_hold(&see(&world).arrivals, &plan);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_window_is_exceeded_and_no_call_is_wasted(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(simulate(plan));
    }
}
