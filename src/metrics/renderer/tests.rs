//! Kept parts do not change the result.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::facts::Facts;
use crate::fleet::{MachineFacts, ReportedUpdate, UpdateFacts};
use crate::model::{
    ContentEncoding, DeadlineStart, Exception, ExpositionFormat, Freshness, KbId, MachineId, OwnLabel,
    Policy, Severity, UpdateCondition,
};

const FRESHNESS: Freshness = Freshness::DEFAULT;

fn hour(hour: u32) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + i64::from(hour) * 3600).unwrap()
}

fn options(detail: DetailLevel, series_limit: u64) -> RenderOptions {
    let policy =
        |name: &str, hours| Policy::single(name, Duration::from_hours(hours), DeadlineStart::FirstSeen);
    RenderOptions {
        freshness: FRESHNESS,
        policies: [policy("20h", 20), policy("5h", 5)].into(),
        detail,
        series_limit,
        ..RenderOptions::default()
    }
}

fn small_blocks() -> Renderer {
    Renderer { machines_per_block: 3, ..Renderer::default() }
}

fn id(number: u8) -> MachineId {
    MachineId::parse(&format!("machine-{number}")).unwrap()
}

fn facts(number: u8, group: u8) -> MachineFacts {
    MachineFacts {
        tags: Some([format!("team:{group}")].into()),
        name: format!("name-{group}"),
        os_platform: "Windows11".to_owned(),
        device_group: format!("{group}"),
        ..MachineFacts::unlisted(id(number))
    }
}

fn missing(kbs: &[u32]) -> Vec<ReportedUpdate> {
    let update = |kb: &u32| ReportedUpdate {
        kb: KbId::new(*kb).unwrap(),
        facts: Arc::new(UpdateFacts { title: format!("title {kb}"), products: Vec::new() }),
        cves: (!kb.is_multiple_of(3)).then_some(*kb),
        reported_machines: (!kb.is_multiple_of(2)).then_some(1),
        severity: kb.is_multiple_of(2).then_some(Severity::High),
        cvss: None,
    };
    kbs.iter().map(update).collect()
}

/// The bytes of every level, format and encoding.
fn everything(body: &Body) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for level in DetailLevel::ALL {
        for format in ExpositionFormat::ALL {
            for encoding in ContentEncoding::ALL {
                let buffers: Vec<_> = body.answer(level, format, encoding, b"self 1\n".to_vec()).collect();
                answers.push(buffers.concat());
            }
        }
    }
    answers
}

/// Addresses of the longer samples of machines.
fn addresses(body: &Body) -> BTreeSet<*const u8> {
    let buffers = body.deeper.iter().flat_map(|level| &level.plain.list);
    buffers.filter(|buffer| buffer.len() >= 16 * 1024).map(|buffer| buffer.as_ptr()).collect()
}

/// A fleet with enough machines for chunks that are sent without a copy.
fn large_fleet() -> TenantFleet {
    let mut fleet = TenantFleet::new("t".into());
    let numbers = || (0..2000_u32).map(|number| MachineId::parse(&format!("{number:040}")).unwrap());
    fleet.apply_list(numbers().map(MachineFacts::unlisted).collect(), hour(0), &FRESHNESS);
    for id in numbers() {
        fleet.apply_answer(&id, hour(0), missing(&[1, 2, 3, 4, 5, 6]), &FRESHNESS, &Facts::default());
    }
    fleet
}

#[test]
fn one_changed_machine_keeps_the_samples_of_others() {
    let mut fleet = large_fleet();
    let (mut renderer, options) = (Renderer::default(), options(DetailLevel::Update, 0));
    let before = renderer.render(&[Arc::new(fleet.clone())], hour(1), &options, &Facts::default());
    assert!(addresses(&before).len() > 30, "{}", addresses(&before).len());
    let unchanged = renderer.render(&[Arc::new(fleet.clone())], hour(2), &options, &Facts::default());
    assert_eq!(addresses(&unchanged), addresses(&before));

    let last = fleet.machines.keys().next_back().unwrap().clone();
    fleet.apply_answer(&last, hour(2), missing(&[1, 2, 3]), &FRESHNESS, &Facts::default());
    let changed = renderer.render(&[Arc::new(fleet)], hour(2), &options, &Facts::default());
    let moved = addresses(&unchanged).difference(&addresses(&changed)).count();
    assert!((1..10).contains(&moved), "at most those of its block: {moved}");
}

#[test]
fn level_that_is_not_served_is_not_in_memory() {
    let fleets = [Arc::new(large_fleet())];
    let mut renderer = Renderer::default();
    let samples = |renderer: &Renderer| {
        let blocks = || renderer.blocks.values().flat_map(BTreeMap::values);
        [0, 1].map(|level| blocks().filter_map(|block| block.samples(level, 0)).count() > 0)
    };
    for (level, expected) in [
        (DetailLevel::Update, [true, true]),
        (DetailLevel::Fleet, [false, false]),
        (DetailLevel::Machine, [true, false]),
    ] {
        renderer.render(&fleets, hour(1), &options(level, 0), &Facts::default());
        assert_eq!(samples(&renderer), expected);
    }
}

#[test]
fn changed_own_labels_are_on_every_machine() {
    let mut fleet = TenantFleet::new("t".into());
    fleet.apply_list((0..20).map(|number| facts(number, number % 3)).collect(), hour(0), &FRESHNESS);
    let fleets = [Arc::new(fleet)];
    let mut renderer = small_blocks();
    for prefix in [None, Some("team:"), Some("team"), None] {
        let labels = prefix.map(|prefix| OwnLabel::new("team".into(), prefix)).into_iter().collect();
        let options = RenderOptions { labels, ..options(DetailLevel::Update, 0) };
        let of = |renderer: &mut Renderer| {
            everything(&renderer.render(&fleets, hour(1), &options, &Facts::default()))
        };
        assert_eq!(of(&mut renderer), of(&mut small_blocks()), "{prefix:?}");
    }
}

#[test]
fn removed_tenant_is_forgotten() {
    let mut renderer = Renderer::default();
    let fleets = ["a", "b"].map(|tenant| Arc::new(TenantFleet::new(tenant.into())));
    renderer.render(&fleets, hour(0), &options(DetailLevel::Update, 0), &Facts::default());
    renderer.render(&fleets[..1], hour(0), &options(DetailLevel::Update, 0), &Facts::default());
    assert_eq!(renderer.blocks.keys().map(|tenant| &**tenant).collect::<Vec<_>>(), ["a"]);
}

fn accepting(kbs: &[u32]) -> Exception {
    let kbs = kbs.iter().map(|number| KbId::new(*number).unwrap()).collect();
    Exception {
        name: "e".into(),
        reason: "accepted".to_owned(),
        until: jiff::civil::Date::MAX,
        tenants: Vec::new(),
        conditions: vec![UpdateCondition::Kbs(kbs).into()],
        not: Vec::new(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    List(Vec<(u8, u8)>),
    Reply(u8, Vec<u32>),
    Failure(u8),
    Wait(u32),
    Expose(DetailLevel, u64),
    /// Machines get own labels, from tags with this prefix.
    Label(Option<&'static str>),
    /// These updates are accepted.
    Accept(Vec<u32>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let kbs = prop::collection::vec(1_u32..30, 0..4);
    prop_oneof![
        1 => prop::collection::vec((0_u8..30, 0_u8..3), 0..30).prop_map(Step::List),
        6 => (0_u8..30, kbs).prop_map(|(machine, kbs)| Step::Reply(machine, kbs)),
        2 => (0_u8..30).prop_map(Step::Failure),
        1 => (1_u32..20).prop_map(Step::Wait),
        1 => (prop::sample::select(DetailLevel::ALL.to_vec()), prop_oneof![Just(0_u64), 0_u64..300])
            .prop_map(|(level, limit)| Step::Expose(level, limit)),
        1 => prop::sample::select(vec![None, Some("team:"), Some("TEAM")]).prop_map(Step::Label),
        1 => prop::collection::vec(1_u32..30, 1..9).prop_map(Step::Accept),
    ]
}

proptest! {
    /// Compares the bytes of every exposition, compressed or not.
    #[test]
    fn changes_give_the_same_bytes_as_a_new_renderer(
        steps in prop::collection::vec((0_usize..2, any_step()), 0..40),
    ) {
        let mut fleets = ["a", "b"].map(|tenant| TenantFleet::new(tenant.into()));
        for fleet in &mut fleets {
            fleet.apply_list((0..20).map(|number| facts(number, number % 3)).collect(), hour(0), &FRESHNESS);
        }
        let (mut renderer, mut now, mut options) = (small_blocks(), 0, options(DetailLevel::Update, 0));
        for (tenant, step) in steps {
            let fleet = &mut fleets[tenant];
            match step {
                Step::List(machines) => {
                    let listed = machines.iter().map(|(number, group)| facts(*number, *group)).collect();
                    fleet.apply_list(listed, hour(now), &FRESHNESS);
                }
                Step::Reply(machine, kbs) => {
                    fleet.apply_answer(&id(machine), hour(now), missing(&kbs), &FRESHNESS, &Facts::default());
                }
                Step::Failure(machine) => fleet.apply_failure(&id(machine), hour(now)),
                Step::Wait(hours) => now += hours,
                Step::Expose(detail, series_limit) => {
                    options = RenderOptions { detail, series_limit, ..options };
                }
                Step::Label(prefix) => {
                    let labels = prefix.map(|prefix| OwnLabel::new("team".into(), prefix)).into_iter().collect();
                    options = RenderOptions { labels, ..options };
                }
                Step::Accept(kbs) => options = RenderOptions { exceptions: [accepting(&kbs)].into(), ..options },
            }
            let published = fleets.clone().map(Arc::new);
            let changed = renderer.render(&published, hour(now), &options, &Facts::default());
            let new = small_blocks().render(&published, hour(now), &options, &Facts::default());
            prop_assert_eq!(changed.budget(), new.budget());
            prop_assert_eq!(everything(&changed), everything(&new));
        }
    }

    /// The borders of blocks only change compressed bytes.
    #[test]
    fn text_does_not_depend_on_blocks(machines in prop::collection::vec((0_u8..30, 0_u8..3), 0..30)) {
        let mut fleet = TenantFleet::new("t".into());
        fleet.apply_list(machines.iter().map(|(number, group)| facts(*number, *group)).collect(), hour(0), &FRESHNESS);
        for (number, group) in machines {
            fleet.apply_answer(&id(number), hour(0), missing(&[1, u32::from(group) + 2]), &FRESHNESS, &Facts::default());
        }
        let (fleets, options) = ([Arc::new(fleet)], options(DetailLevel::Update, 0));
        let text = |mut renderer: Renderer| renderer.render(&fleets, hour(1), &options, &Facts::default()).plain(b"");
        prop_assert_eq!(text(small_blocks()), text(Renderer::default()));
    }
}
