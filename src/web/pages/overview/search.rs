//! The search in the head of every page.

use super::headline::selected;
use crate::model::KbId;
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::page_link;

/// The link to what the search means: an update, a machine, or else the list of machines that match.
pub(super) fn search(context: &PageContext) -> String {
    let search = &context.query.search;
    let is_missing =
        |kb: &KbId| selected(context).any(|(_, _, tenant)| tenant.summary.updates.contains_key(kb));
    if let Some(kb) = KbId::parse(search).filter(is_missing) {
        return context.link(&format!("updates/{kb}"), &context.query.kept());
    }
    match machine_meant(context) {
        Some(place) => page_link(context, place, |_| ()),
        None => context.machines(|query| query.search.clone_from(search)),
    }
}

/// The place of the only machine with this id or name or, if there is none, with this name before the domain.
fn machine_meant(context: &PageContext) -> Option<usize> {
    let wanted = context.query.search.to_lowercase();
    let machines = &context.snapshot.overview().machines;
    let (mut exact, mut short) = (Vec::new(), Vec::new());
    for place in selected(context).flat_map(|(_, _, tenant)| tenant.machines.clone()) {
        let facts = &machines[place].machine.facts;
        let name = facts.name.to_lowercase();
        if facts.id.as_str() == wanted || name == wanted {
            exact.push(place);
        } else if name.split_once('.').is_some_and(|(host, _)| host == wanted) {
            short.push(place);
        }
    }
    let meant = if exact.is_empty() { short } else { exact };
    match *meant {
        [place] => Some(place),
        _ => None,
    }
}
