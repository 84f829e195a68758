//! One update of the list.

use super::list::{ListedUpdate, machine_query};
use crate::fleet::EffectiveFacts;
use crate::fleet::policy::PolicyState;
use crate::model::{CvssScore, VendorSeverity};
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::last_day;
use crate::web::pages::query::{PageQuery, WrittenKb};
use crate::web::pages::text::{ShownDay, day, grouped, visible};

/// The most products that a row names.
const PRODUCTS: usize = 3;

/// One update.
pub(super) struct ListedUpdateRow {
    pub(super) kb: String,
    pub(super) link: String,
    pub(super) title: String,
    /// Its products; the first ones of many.
    pub(super) products: String,
    pub(super) tenant: String,
    /// Microsoft's own rating.
    pub(super) vendor_severity: Option<&'static str>,
    /// The highest CVSS score.
    pub(super) cvss: Option<String>,
    /// None while unknown.
    pub(super) exploited: Option<bool>,
    /// The days on which it was added to the catalogue of known exploited vulnerabilities and is due there.
    pub(super) listed: Option<String>,
    pub(super) due: Option<String>,
    pub(super) released: Option<ShownDay>,
    pub(super) first_seen: ShownDay,
    /// The number of machines, and the link to them.
    pub(super) machines: (String, String),
    /// The number of machines for which it is overdue; none while unknown.
    pub(super) overdue: Option<OverdueMachines>,
    /// The number of CVEs that it fixes, by Defender.
    pub(super) cves: Option<String>,
}

/// The machines for which an update is overdue.
pub(super) struct OverdueMachines {
    pub(super) count: String,
    /// The link to them; none if the list of machines has another state.
    pub(super) link: Option<String>,
    pub(super) is_bad: bool,
}

impl ListedUpdateRow {
    pub(super) fn of(context: &PageContext, update: &ListedUpdate) -> Self {
        let PageContext { snapshot, query, now, .. } = context;
        let ListedUpdate { tenant, kb, machines, overdue, first_seen } = *update;
        let summary = &snapshot.overview().tenants[tenant].summary.updates[&kb];
        let EffectiveFacts { exploited, known_exploited, vendor_severity, cvss, .. } =
            EffectiveFacts::of(&snapshot.facts, [kb]);
        let page = format!("updates/{kb}");
        // A link to the machines has the parameters that select them.
        let of_machines = PageQuery { tenant: Some(tenant), ..machine_query(query) };
        let listed = if query.policy_state.is_none() {
            context.link(&page, &of_machines)
        } else {
            // On the page of the update, it would be the state of the update.
            let kb = Some(WrittenKb::new(&format!("KB{kb}")));
            context.link("machines", &PageQuery { kb, ..of_machines.clone() })
        };
        let overdue = overdue.map(|count| {
            let is_linked = matches!(query.policy_state, None | Some(PolicyState::Overdue));
            let late = PageQuery { policy_state: Some(PolicyState::Overdue), ..of_machines.clone() };
            OverdueMachines {
                count: grouped(count),
                link: is_linked.then(|| context.link(&page, &late)),
                is_bad: count > 0,
            }
        });
        Self {
            kb: format!("KB{kb}"),
            link: context.link(&page, &PageQuery { tenant: query.tenant, ..query.kept() }),
            title: visible(&summary.facts.title),
            products: products(&summary.facts.products),
            tenant: visible(&snapshot.fleets[tenant].tenant),
            vendor_severity: vendor_severity.map(VendorSeverity::as_str),
            cvss: cvss.map(|score: CvssScore| score.to_string()),
            exploited,
            listed: known_exploited.map(|known| day(known.since, *now)),
            due: known_exploited.and_then(|known| known.due).map(|due| day(last_day(due), *now)),
            released: summary.released.map(|at| ShownDay::past(at, *now)),
            first_seen: ShownDay::past(first_seen, *now),
            machines: (grouped(machines), listed),
            overdue,
            cves: summary.addressed_cves.map(|cves| grouped(cves.into())),
        }
    }
}

fn products(products: &[String]) -> String {
    let named: Vec<_> = products.iter().take(PRODUCTS).map(|product| visible(product)).collect();
    match products.len().saturating_sub(PRODUCTS) {
        0 => named.join(", "),
        more => format!("{} and {} more", named.join(", "), grouped(more as u64)),
    }
}
