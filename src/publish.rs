//! Renders once per change and swaps one value.
//!
//! Pollers hand over what they know now; the publisher task renders the newest state of all tenants
//! and replaces the one [`Snapshot`] that readers see. States that follow each other quickly are
//! rendered once. Readers never wait and never see half a change: fleets and body are in one value.
//!
//! A reload changes tenants and exposure in one step, see [`FleetSender::reconfigure`].
//!
//! Each state is saved before it is served: what a scrape once saw is there again after a crash.
//!
//! Freshness change without an answer of the API (current becomes stale), so the task also renders when
//! nothing was handed over for a while. What did not change is not rendered again.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fleet::{Overview, TenantFleet};
use crate::metrics::{Body, RenderOptions, Renderer, SeriesBudget};
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat, Freshness, Policy};
use crate::self_metrics::SelfMetrics;
use crate::store::SharedStore;

/// What readers see; never changes once it is published.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with each publication, from 0 for the empty fleets at start.
    pub generation: u64,
    /// When it was rendered: the moment at which ages are judged.
    pub at: Timestamp,
    /// All tenants, in the order of the configuration.
    pub fleets: Vec<Arc<TenantFleet>>,
    /// The ages that were in force.
    pub freshness: Freshness,
    /// The patch deadlines that were in force.
    pub policies: Arc<[Policy]>,
    /// The exposition of the fleets.
    pub body: Body,
    /// Made for the first person who looks.
    overview: OnceLock<Overview>,
}

impl Snapshot {
    /// Renders `fleets` as they are at `at`.
    pub fn render(
        renderer: &mut Renderer,
        generation: u64,
        fleets: Vec<Arc<TenantFleet>>,
        at: Timestamp,
        options: &RenderOptions,
    ) -> Self {
        let body = renderer.render(&fleets, at, options);
        let (freshness, policies) = (options.freshness, Arc::clone(&options.policies));
        Self { generation, at, fleets, freshness, policies, body, overview: OnceLock::new() }
    }

    /// How tenants and machines stand, by the same judgement as the exposition. The first call takes a
    /// good part of a second for a large fleet, and others wait for it.
    pub fn overview(&self) -> &Overview {
        self.overview.get_or_init(|| Overview::of(&self.fleets, self.at, &self.freshness, &self.policies))
    }

    /// Counts what was rendered, and how long it `took`.
    pub fn count(&self, self_metrics: &SelfMetrics, took: Duration) {
        let SeriesBudget { limit, deepest, series, suppressed, .. } = *self.body.served();
        let bytes = ExpositionFormat::ALL.into_iter().flat_map(|format| {
            ContentEncoding::ALL.map(|encoding| ((format, encoding), self.body.length(format, encoding)))
        });
        self_metrics.rendered(series, bytes, took);
        self_metrics.detail(limit, suppressed, deepest);
    }
}

/// Where readers take the newest [`Snapshot`] from.
pub type SnapshotReader = watch::Receiver<Arc<Snapshot>>;

/// Where pollers hand over what they know. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FleetSender(Arc<Pending>);

#[derive(Debug)]
struct Pending {
    newest: Mutex<PendingState>,
    changed: Notify,
    /// Somebody waits for the next publication.
    awaited: Notify,
}

/// What the next publication is made from.
#[derive(Debug)]
struct PendingState {
    fleets: Vec<Arc<TenantFleet>>,
    options: RenderOptions,
    /// To be told when it is served.
    waiting: Vec<oneshot::Sender<()>>,
}

impl FleetSender {
    /// Hands over the state of one tenant; it replaces the older one.
    pub fn submit(&self, fleet: &TenantFleet) {
        for slot in self.newest().fleets.iter_mut().filter(|slot| slot.tenant == fleet.tenant) {
            *slot = Arc::new(fleet.clone());
        }
        self.0.changed.notify_one();
    }

    /// Makes `tenants` the tenants that are published, in their order, and exposes them so. A tenant
    /// without a fleet keeps what was handed over last. What readers see changes in one step; the
    /// receiver is told when it has.
    #[must_use]
    pub fn reconfigure(
        &self,
        tenants: Vec<(Arc<str>, Option<TenantFleet>)>,
        options: RenderOptions,
    ) -> oneshot::Receiver<()> {
        let (told, receiver) = oneshot::channel();
        let mut newest = self.newest();
        let known = std::mem::take(&mut newest.fleets);
        let fleet = |(name, given): (Arc<str>, Option<TenantFleet>)| {
            let kept = || known.iter().find(|fleet| fleet.tenant == name).cloned();
            let given = given.map(Arc::new).or_else(kept);
            given.unwrap_or_else(|| Arc::new(TenantFleet::new(name)))
        };
        newest.fleets = tenants.into_iter().map(fleet).collect();
        newest.options = options;
        newest.waiting.push(told);
        drop(newest);
        self.0.awaited.notify_one();
        self.0.changed.notify_one();
        receiver
    }

    /// Every part is replaced whole, so a panic elsewhere left it usable.
    fn newest(&self) -> MutexGuard<'_, PendingState> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that renders.
#[derive(Debug)]
pub struct SnapshotTask {
    publisher: FleetSender,
    sender: watch::Sender<Arc<Snapshot>>,
    renderer: Renderer,
    /// What was last said about series that are left out.
    said: LeftOut,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
    store: Option<SharedStore>,
}

/// The deepest level that is served and the levels of which series are left out, which is said anew
/// when it changes; none when no series is left out.
type LeftOut = Option<(DetailLevel, [bool; DetailLevel::ALL.len()])>;

/// States are rendered at least so often, for ages that pass.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Rendering may take a tenth of the time, so that a large fleet that changes all the time leaves
/// the machine to others.
const REST_PER_RENDERING: u32 = 9;

/// Starts with what is known of each tenant, if only its name. Without a `store` nothing outlives
/// the process.
#[must_use]
pub fn publication(
    fleets: Vec<TenantFleet>,
    options: RenderOptions,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
    store: Option<SharedStore>,
) -> (FleetSender, SnapshotTask, SnapshotReader) {
    let fleets: Vec<_> = fleets.into_iter().map(Arc::new).collect();
    let (mut renderer, started) = (Renderer::default(), Instant::now());
    let known = Snapshot::render(&mut renderer, 0, fleets.clone(), clock.now(), &options);
    known.count(&self_metrics, started.elapsed());
    let said = say_what_is_left_out(None, known.body.served());
    let (sender, reader) = watch::channel(Arc::new(known));
    let newest = Mutex::new(PendingState { fleets, options, waiting: Vec::new() });
    let (changed, awaited) = (Notify::new(), Notify::new());
    let publisher = FleetSender(Arc::new(Pending { newest, changed, awaited }));
    let publication =
        SnapshotTask { publisher: publisher.clone(), sender, renderer, said, clock, self_metrics, store };
    (publisher, publication, reader)
}

impl SnapshotTask {
    /// Renders and publishes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let changed = tokio::time::timeout(LONGEST_WAIT, self.publisher.0.changed.notified());
            if stop.run_until_cancelled(changed).await.is_none() {
                break;
            }
            let took = self.publish().await;
            let awaited = self.publisher.0.awaited.notified();
            let rest = tokio::time::timeout(took * REST_PER_RENDERING, awaited);
            if stop.run_until_cancelled(rest).await.is_none() {
                break;
            }
        }
        // What was handed over last is remembered too.
        self.publish().await;
    }

    async fn publish(&mut self) -> Duration {
        let started = Instant::now();
        let (fleets, options, waiting) = {
            let mut newest = self.publisher.newest();
            (newest.fleets.clone(), newest.options.clone(), std::mem::take(&mut newest.waiting))
        };
        let (generation, now) = (self.sender.borrow().generation + 1, self.clock.now());
        let store = self.store.clone();
        let mut renderer = std::mem::take(&mut self.renderer);
        // Off the threads that serve: a large fleet takes a good part of a second.
        let rendering = tokio::task::spawn_blocking(move || {
            // First to disk: what was served once must be served again after a crash.
            if let Some(store) = store {
                store.save(&fleets);
            }
            (Snapshot::render(&mut renderer, generation, fleets, now, &options), renderer)
        });
        let published;
        (published, self.renderer) =
            rendering.await.expect("Safe: rendering does not panic and is never aborted");
        let took = started.elapsed();
        published.count(&self.self_metrics, took);
        self.said = say_what_is_left_out(self.said, published.body.served());
        let old = self.sender.send_replace(Arc::new(published));
        for told in waiting {
            // Whoever does not wait any more need not know.
            told.send(()).unwrap_or_default();
        }
        // To give much memory back takes its time too.
        let dropping = tokio::task::spawn_blocking(move || drop(old));
        dropping.await.expect("Safe: dropping does not panic and is never aborted");
        took
    }
}

/// One line in the log when series begin to be left out, or others than before, and one when none is
/// left out any more. Answers what was said.
fn say_what_is_left_out(said: LeftOut, served: &SeriesBudget) -> LeftOut {
    let SeriesBudget { limit, wanted, deepest, series, suppressed } = served;
    let left_out: u64 = suppressed.iter().sum();
    let to_say = (left_out > 0).then(|| (*deepest, suppressed.map(|series| series > 0)));
    let total = left_out + series.iter().sum::<u64>();
    match to_say {
        _ if to_say == said => {}
        Some(_) => tracing::warn!(
            limit,
            series = total,
            left_out,
            wanted = wanted.as_str(),
            served = deepest.as_str(),
            "series are left out because of the limit: raise `metrics.series_limit` or set `metrics.detail`"
        ),
        None => tracing::info!(
            limit,
            series = total,
            served = deepest.as_str(),
            "no series are left out any more"
        ),
    }
    to_say
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn options(detail: DetailLevel, series_limit: u64) -> RenderOptions {
        let (hour, policies) = (Duration::from_hours(1), Arc::default());
        let freshness = Freshness { stale_after: hour, expire_after: 2 * hour, inactive_after: 3 * hour };
        RenderOptions { freshness, policies, detail, series_limit }
    }

    fn publication_within(series_limit: u64) -> (SnapshotTask, SnapshotReader, Arc<SelfMetrics>) {
        let (fleet, self_metrics) = (TenantFleet::new("t".into()), Arc::new(SelfMetrics::new("1")));
        let (options, clock) =
            (options(DetailLevel::Machine, series_limit), Clock::new(|| Timestamp::UNIX_EPOCH));
        let (_, publication, reader) =
            publication(vec![fleet], options, clock, Arc::clone(&self_metrics), None);
        (publication, reader, self_metrics)
    }

    #[test]
    fn what_is_served_is_counted_from_the_start() {
        let (_, reader, self_metrics) = publication_within(6);
        let text = String::from_utf8(self_metrics.encode_own()).unwrap();
        let whole: u64 = publication_within(0).1.borrow().body.served().series.iter().sum();
        let body = &reader.borrow().body;
        for (line, value) in [
            ("series{detail=\"fleet\"}", 6),
            ("series{detail=\"update\"}", 0),
            ("series_limit", 6),
            ("suppressed_series{detail=\"fleet\"}", whole - 6),
            ("detail_level{detail=\"fleet\"}", 0),
            ("detail_level{detail=\"machine\"}", 0),
            ("exposition_bytes{encoding=\"identity\",format=\"text\"}", body.plain(b"").len() as u64),
            (
                "exposition_bytes{encoding=\"gzip\",format=\"openmetrics\"}",
                body.length(ExpositionFormat::OpenMetrics, ContentEncoding::Gzip),
            ),
        ] {
            let value = if line == "detail_level{detail=\"fleet\"}" { 1 } else { value };
            let line = format!("mde_exporter_{line} {value}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[tokio::test]
    async fn a_new_exposition_replaces_the_old_one() {
        let (mut publication, reader, self_metrics) = publication_within(0);
        let tenants = ["u", "t"].map(|name| (name.into(), None)).into();
        let mut served = publication.publisher.reconfigure(tenants, options(DetailLevel::Machine, 6));
        assert!(served.try_recv().is_err());
        publication.publish().await;
        served.try_recv().expect("it is served");
        assert_eq!(reader.borrow().generation, 1);
        assert_eq!(reader.borrow().body.served().limit, 6);
        let tenants: Vec<_> = reader.borrow().fleets.iter().map(|fleet| Arc::clone(&fleet.tenant)).collect();
        assert_eq!(tenants, ["u".into(), "t".into()]);
        let text = String::from_utf8(self_metrics.encode_own()).unwrap();
        assert!(text.contains("mde_exporter_series_limit 6\n"), "{text}");
        assert!(text.contains("mde_exporter_render_duration_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn left_out_series_are_said_when_that_begins_changes_and_ends() {
        let log = Log::default();
        let writer = log.clone();
        let lines = move || {
            let text = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let served = |deepest, suppressed| SeriesBudget {
            limit: 10,
            wanted: DetailLevel::Update,
            deepest,
            series: [5, 0, 0],
            suppressed,
        };
        tracing::subscriber::with_default(subscriber, || {
            let mut said = None;
            for (served, expected) in [
                (served(DetailLevel::Update, [0, 0, 0]), ""),
                (served(DetailLevel::Machine, [0, 0, 7]), "WARN"),
                (served(DetailLevel::Machine, [0, 0, 9]), ""),
                (served(DetailLevel::Fleet, [0, 6, 9]), "WARN"),
                (served(DetailLevel::Fleet, [1, 6, 9]), "WARN"),
                (served(DetailLevel::Update, [0, 0, 0]), "INFO"),
                (served(DetailLevel::Update, [0, 0, 0]), ""),
            ] {
                said = say_what_is_left_out(said, &served);
                let lines = lines();
                assert_eq!(lines.len(), usize::from(!expected.is_empty()), "{lines:?}");
                assert!(lines.iter().all(|line| line.contains(expected)), "{lines:?}");
                if expected == "WARN" {
                    let line = &lines[0];
                    assert!(line.contains("limit=10") && line.contains("metrics.series_limit"), "{line}");
                    assert!(line.contains("wanted=\"update\""), "{line}");
                }
            }
        });
    }
}
