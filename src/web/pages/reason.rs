//! The reason in words why a machine cannot be judged.

use super::context::PageContext;
use super::text::length;
use crate::fleet::overview::NotJudged;

/// The reason in words.
pub(super) fn reason_words(context: &PageContext, reason: NotJudged) -> String {
    let freshness = &context.snapshot.freshness;
    match reason {
        NotJudged::NotFound => "Unknown: Defender answers that the machine does not exist".to_owned(),
        NotJudged::NeverRead => "Unknown: never read".to_owned(),
        NotJudged::Expired => format!("Unknown: last read more than {} ago", length(freshness.expire_after)),
        NotJudged::UnreadableId => "Unknown: Defender lists an update whose id is no KB".to_owned(),
        NotJudged::LacksFacts => "Unknown: the policy needs facts that were never loaded".to_owned(),
        NotJudged::Inactive => {
            format!("Inactive: not seen by Defender for {}", length(freshness.inactive_after))
        }
        NotJudged::NotWindows => "Unsupported: no Windows".to_owned(),
        NotJudged::NotOnboarded => "Unsupported: not onboarded".to_owned(),
    }
}

/// The reason as a word or two, behind a number of machines.
pub(super) fn reason_in_short(reason: NotJudged) -> &'static str {
    match reason {
        NotJudged::NotFound => "not found by Defender",
        NotJudged::NeverRead => "never read",
        NotJudged::Expired => "with data that is too old",
        NotJudged::UnreadableId => "with an unreadable update id",
        NotJudged::LacksFacts => "for lack of facts",
        NotJudged::Inactive => "inactive",
        NotJudged::NotWindows => "without Windows",
        NotJudged::NotOnboarded => "not onboarded",
    }
}
