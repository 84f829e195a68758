//! The machines that cannot be judged, by reason.

use super::headline::selected;
use crate::fleet::overview::NotJudged;
use crate::web::pages::context::PageContext;
use crate::web::pages::reason::reason_words;
use crate::web::pages::text::{counted, grouped};

/// The machines and devices that cannot be judged.
pub(super) struct NotJudgedCard {
    /// The number of machines, and that of unsupported devices.
    pub(super) total: String,
    /// The reason in words, the number of machines, and the link to them.
    pub(super) rows: Vec<(String, String, String)>,
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
    let rows = NotJudged::ALL.into_iter().filter(|reason| counts[*reason as usize] > 0).map(|reason| {
        let link = context.machines(|query| query.reason = Some(reason));
        (reason_words(context, reason), grouped(counts[reason as usize]), link)
    });
    NotJudgedCard {
        total: match (of(false), of(true)) {
            (0, 0) => "none".to_owned(),
            (unknown, 0) => counted(unknown, "machine"),
            (unknown, devices) => {
                format!("{}, and {}", counted(unknown, "machine"), counted(devices, "unsupported device"))
            }
        },
        rows: rows.collect(),
    }
}
