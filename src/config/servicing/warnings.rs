//! Warnings about rules that select no machine, or machines to which their value cannot apply.

use std::sync::Arc;

use crate::config::reader::ValueReader;
use crate::config::tenant::TenantNames;
use crate::model::TextPattern;

/// The platforms of Windows in lower case, and whether a version of the platform has or had Extended Security Updates
/// for which the servicing table has an end.
const PLATFORMS: [(&str, bool); 15] = [
    ("windows7", false),
    ("windows8", false),
    ("windows8.1", false),
    ("windows10", true),
    ("windows10wvd", true),
    ("windows11", false),
    ("windows11wvd", false),
    ("windowsserver2008", true),
    ("windowsserver2008r2", true),
    ("windowsserver2012", true),
    ("windowsserver2012r2", true),
    ("windowsserver2016", true),
    ("windowsserver2019", false),
    ("windowsserver2022", false),
    ("windowsserver2025", false),
];

const SERVER: &str = "windowsserver";

const PLATFORM_ADVICE: &str =
    "the value is osPlatform of Defender, such as Windows10, without a version such as 22H2";

/// Warns about platforms in `servicing.editions` that match servers alone, or nothing.
pub(super) fn of_editions(field: &ValueReader<'_>) {
    let what = "selects servers, which have one end of servicing, whatever their edition, so the rule does not apply \
                to them";
    each_platform(field, |item, pattern| {
        if pattern.as_str().to_lowercase().starts_with(SERVER) {
            item.warning(what, "a rule for servers is not needed");
        } else {
            warn_of_unknown(item, pattern);
        }
    });
}

/// Warns about platforms in `servicing.extended` that have no Extended Security Updates, or match nothing.
pub(super) fn of_extended(field: &ValueReader<'_>) {
    each_platform(field, |item, pattern| {
        let mut matched = PLATFORMS.iter().filter(|(name, _)| pattern.matches_lower(name)).peekable();
        if matched.peek().is_none() {
            warn_of_unknown(item, pattern);
        } else if matched.all(|(_, has_extended)| !has_extended) {
            let what = "selects a platform for which the built-in table has no Extended Security Updates, so the rule \
                        changes nothing for it without newer facts";
            item.warning(what, "a rule is needed only for platforms that have them, such as Windows10");
        }
    });
}

/// Warns about names in `tenants` that no tenant of the file has.
pub(super) fn of_unknown_tenants(field: &ValueReader<'_>, names: &[Arc<str>], tenants: Option<&TenantNames>) {
    let (Some(tenants), Some(items)) = (tenants, field.list("")) else { return };
    for (item, _) in items.iter().zip(names).filter(|(_, name)| !tenants.contains_key(*name)) {
        let what = "is not the name of a tenant of this file, so it selects no machine";
        item.warning(what, "the names of tenants are compared exactly");
    }
}

/// Names of servers of the semi-annual channel have no list, so none is unknown.
fn warn_of_unknown(item: &ValueReader<'_>, pattern: &TextPattern) {
    let is_known = PLATFORMS.iter().any(|(name, _)| pattern.matches_lower(name));
    if !is_known && !pattern.as_str().to_lowercase().starts_with(SERVER) {
        item.warning("matches no known platform of Windows, so it selects no machine", PLATFORM_ADVICE);
    }
}

/// Calls `check` for each item of `machines.platforms` of each rule of the list `field`, which was read before.
fn each_platform(field: &ValueReader<'_>, check: impl Fn(&ValueReader<'_>, &TextPattern)) {
    for rule in field.list("").iter().flatten() {
        let machines = rule.section().and_then(|rule| rule.optional("machines", ""));
        let section = machines.and_then(|machines| machines.section());
        let platforms = section.and_then(|machines| machines.optional("platforms", ""));
        for item in platforms.and_then(|platforms| platforms.list("")).iter().flatten() {
            if let Some(pattern) = item.text(|text| Ok(TextPattern::new(text))) {
                check(item, &pattern);
            }
        }
    }
}
