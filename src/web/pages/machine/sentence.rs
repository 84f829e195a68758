//! The answer about one machine.

use crate::fleet::policy::{UpdateState, UpdateVerdict};
use crate::fleet::servicing::version_name;
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::{last_day, shown_name};
use crate::web::pages::reason::reason_words;
use crate::web::pages::text::{counted, day, grouped, visible};

/// The answer about the machine at `place`, whose missing updates have these verdicts.
pub(super) fn sentence(context: &PageContext, place: usize, verdicts: &[UpdateVerdict]) -> String {
    let summary = &context.snapshot.overview().machines[place];
    let name = visible(shown_name(summary));
    let ended = summary.servicing.decides(summary.state).then(|| {
        let version = visible(&version_name(&summary.machine.facts));
        let end = summary.servicing.ended_at.map(|end| format!(" on {}", day(last_day(end), context.now)));
        format!("runs {version}, whose servicing ended{}", end.unwrap_or_default())
    });
    let reason = context.snapshot.overview().not_judged(place, context.query.policy);
    let updates = match reason {
        _ if summary.missing.is_some() => misses(context, place, verdicts),
        Some(reason) if ended.is_none() => {
            let words = reason_words(context, reason);
            let words = words.split_once(": ").map_or(&*words, |(_, words)| words);
            let state = if reason.is_unsupported() { "is unsupported" } else { "cannot be judged" };
            format!("{state}: {words}")
        }
        _ => "its missing updates are unknown".to_owned(),
    };
    match ended {
        Some(ended) => format!("{name} {ended}, and {updates}"),
        None => format!("{name} {updates}"),
    }
}

/// The sentence about an assessed machine.
fn misses(context: &PageContext, place: usize, verdicts: &[UpdateVerdict]) -> String {
    let overview = context.snapshot.overview();
    let judgement = &overview.policies[context.query.policy].machines[place];
    let oldest = overview.machines[place].missing.and_then(|missing| missing.oldest);
    let day = |at| day(at, context.now);
    let number = verdicts.len() as u64;
    if number == 0 {
        return "misses no update".to_owned();
    }
    let updates = counted(number, "update");
    if context.policy_name().is_none() {
        let since = oldest.map(|at| format!(", the oldest since {}", day(at))).unwrap_or_default();
        return format!("misses {updates}{since}");
    }
    if verdicts.iter().any(|verdict| verdict.state == UpdateState::Unknown) {
        return format!("misses {updates}, which cannot be judged without facts");
    }
    let overdue = || verdicts.iter().filter(|verdict| verdict.state == UpdateState::Overdue);
    let late = overdue().count() as u64;
    let since = overdue().filter_map(|verdict| verdict.deadline).min();
    let since = |words: &str| since.map(|at| format!("{words}since {}", day(at))).unwrap_or_default();
    match (late, number) {
        (0, _) => {
            let next = judgement.next_deadline.map(|at| format!(", the next deadline is {}", day(at)));
            format!("misses {updates}, none past its deadline{}", next.unwrap_or_default())
        }
        (_, 1) => format!("misses 1 update, past its deadline{}", since(" ")),
        (1, _) => format!("misses {updates}, 1 of them past its deadline{}", since(" ")),
        (late, number) if late == number => {
            format!("misses {updates}, all past their deadline{}", since(", the oldest "))
        }
        (late, _) => {
            let late = grouped(late);
            format!("misses {updates}, {late} of them past their deadline{}", since(", the oldest "))
        }
    }
}
