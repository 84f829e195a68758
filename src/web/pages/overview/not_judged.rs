//! The machines that cannot be judged, by reason.

use super::headline::selected;
use crate::fleet::overview::NotJudged;
use crate::fleet::policy::PolicyState;
use crate::web::pages::context::PageContext;
use crate::web::pages::reason::reason_words;
use crate::web::pages::text::{counted, grouped};

/// The machines and devices that cannot be judged.
pub(super) struct NotJudgedCard {
    /// The number of machines and the link to them; none without such a machine.
    pub(super) machines: Option<(String, String)>,
    /// The number of unsupported devices and the link to them; none without such a device.
    pub(super) devices: Option<(String, String)>,
    pub(super) rows: Vec<NotJudgedRow>,
}

/// The machines that cannot be judged for one reason.
pub(super) struct NotJudgedRow {
    pub(super) reason: NotJudged,
    pub(super) words: String,
    /// The number of machines.
    pub(super) count: String,
    /// The link to them.
    pub(super) link: String,
}

pub(super) fn not_judged(context: &PageContext) -> NotJudgedCard {
    let overview = context.snapshot.overview();
    let mut counts = [0_u64; NotJudged::ALL.len()];
    for place in selected(context).flat_map(|(_, _, tenant)| tenant.machines.clone()) {
        if let Some(reason) = overview.not_judged(place, context.query.policy) {
            counts[reason as usize] += 1;
        }
    }
    let of = |is_unsupported: bool| {
        let reasons =
            NotJudged::ALL.into_iter().filter(move |reason| reason.is_unsupported() == is_unsupported);
        reasons.map(|reason| counts[reason as usize]).sum::<u64>()
    };
    let rows =
        NotJudged::ALL.into_iter().filter(|reason| counts[*reason as usize] > 0).map(|reason| NotJudgedRow {
            reason,
            words: reason_words(context, reason),
            count: grouped(counts[reason as usize]),
            link: context.machines(|query| query.reason = Some(reason)),
        });
    let total = |count: u64, thing: &str, state: PolicyState| {
        let link = || context.machines(|query| query.policy_state = Some(state));
        (count > 0).then(|| (counted(count, thing), link()))
    };
    NotJudgedCard {
        machines: total(of(false), "machine", PolicyState::Unknown),
        devices: total(of(true), "unsupported device", PolicyState::Unsupported),
        rows: rows.collect(),
    }
}
