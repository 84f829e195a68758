//! The sentences at the top of the page of an update.

use super::ShownUpdate;
use crate::web::pages::context::PageContext;
use crate::web::pages::text::{ShownDay, counted, grouped, visible};

/// The answer to "which machines miss it?".
pub(super) fn headline(context: &PageContext, update: &ShownUpdate<'_>) -> String {
    let name = &update.name;
    let (machines, overdue) = (update.machines(), update.overdue());
    if machines == 0 {
        return format!("No machine misses {name}");
    }
    let missing = format!("{name} is missing on {}", counted(machines, "machine"));
    if context.policy_name().is_none() {
        return missing;
    }
    match (machines, overdue) {
        (1, 0) => format!("{missing}, which is not past its deadline"),
        (1, _) => format!("{missing}, which is past its deadline"),
        (_, 0) => format!("{missing}, none of them past its deadline"),
        (_, 1) => format!("{missing}, 1 of them past its deadline"),
        (_, overdue) if overdue == machines => format!("{missing}, all of them past their deadline"),
        (_, overdue) => format!("{missing}, {} of them past their deadline", grouped(overdue)),
    }
}

/// The title, the release and the tenants.
pub(super) fn lead(context: &PageContext, update: &ShownUpdate<'_>) -> String {
    let title = title(update);
    let released = update.released().map(|at| ShownDay::past(at, context.now));
    let released = released.map(|at| format!("released {}, {} ago", at.day, at.age));
    let tenants = match &update.tenants[..] {
        [] => context.query.tenant.map(|tenant| visible(&context.snapshot.fleets[tenant].tenant)),
        [known] if context.snapshot.fleets.len() > 1 => Some(visible(&known.fleet.tenant)),
        [_] => None,
        several => Some(counted(several.len() as u64, "tenant")),
    };
    let policy = context.policy_name().map(|name| format!("policy {}", visible(name)));
    let parts: Vec<_> = [title, released, tenants, policy].into_iter().flatten().collect();
    parts.join(" · ")
}

/// The title; none if no machine misses it any more, or if it has none.
fn title(update: &ShownUpdate<'_>) -> Option<String> {
    let titles = update.summaries().map(|summary| &*summary.facts.title);
    titles.max().filter(|title| !title.is_empty()).map(visible)
}
