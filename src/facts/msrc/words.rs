//! The texts inside remediations and threats.

use crate::facts::FixedBuild;
use crate::model::{KbId, Restart};

/// Returns whether an exploit status, such as `Publicly Disclosed:No;Exploited:Yes;DOS:N/A`, reports exploitation.
pub(super) fn is_exploited(status: &str) -> bool {
    let mut statements = status.split(';').filter_map(|statement| statement.split_once(':'));
    let is = |text: &str, word: &str| text.trim().eq_ignore_ascii_case(word);
    statements.any(|(name, value)| is(name, "Exploited") && is(value, "Yes"))
}

/// The KB that a fix describes itself as; none for `Click to Run`, `Release Notes` and the like.
pub(super) fn kb(description: &str) -> Option<KbId> {
    is_kb(description).then(|| KbId::parse(description)).flatten()
}

/// The KBs in a text such as `MS16-016, 3124280; 5087538`. Everything that is not six or seven digits is skipped.
pub(super) fn superseded(text: &str) -> impl Iterator<Item = KbId> + '_ {
    let words = text.split(|character: char| !(character.is_alphanumeric() || character == '_'));
    words.filter(|word| is_kb(word.trim_start_matches(['K', 'B', 'k', 'b']))).filter_map(KbId::parse)
}

fn is_kb(text: &str) -> bool {
    (6..=7).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The Windows builds in a text such as `10.0.14393.5786; 10.0.17763.4131`. Versions of other software are skipped.
pub(super) fn builds(text: &str) -> impl Iterator<Item = FixedBuild> + '_ {
    let versions = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '.'));
    versions.filter_map(FixedBuild::of_windows)
}

/// Returns whether a kind of fix is a hotpatch, such as `AzureHotpatch` or `Security Hot Patch Update`.
pub(super) fn is_hotpatch(sub_type: &str) -> bool {
    without_space(sub_type).contains("hotpatch")
}

/// Returns whether a kind of fix is a servicing stack update.
pub(super) fn is_servicing_stack(sub_type: &str) -> bool {
    without_space(sub_type).contains("servicingstack")
}

fn without_space(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The demand for a restart; none for an empty or an unknown word.
pub(super) fn restart(text: &str) -> Option<Restart> {
    Restart::ALL.into_iter().find(|restart| restart.as_str().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exploited_is_one_statement_of_the_status() {
        for (status, expected) in [
            ("Publicly Disclosed:No;Exploited:Yes;Latest Software Release:Exploitation Detected", true),
            ("Publicly Disclosed:Yes;Exploited:Yes;", true),
            ("exploited : yes", true),
            ("Publicly Disclosed:Yes;Exploited:No;Latest Software Release:Exploitation Unlikely", false),
            ("Latest Software Release:Exploitation Detected", false),
            ("Publicly Disclosed:Yes;Exploited:", false),
            ("DOS:N/A", false),
            ("Exploited", false),
            ("", false),
        ] {
            assert_eq!(is_exploited(status), expected, "{status}");
        }
    }

    #[test]
    fn description_of_a_kb_is_its_digits() {
        assert_eq!(kb("5094123"), KbId::new(5_094_123));
        assert_eq!(kb("890830"), KbId::new(890_830));
        for text in [
            "",
            "Click to Run",
            "Release Notes",
            "CBL-Mariner Releases",
            "Commit",
            "kernel",
            "50185",
            "50941234",
            "5094123 (x64)",
        ] {
            assert_eq!(kb(text), None, "{text}");
        }
    }

    #[test]
    fn superseded_kbs_are_found_in_every_shape() {
        for (text, expected) in [
            ("5087538", &[5_087_538][..]),
            ("5087538 ", &[5_087_538]),
            ("5087538; 5087539", &[5_087_538, 5_087_539]),
            ("5087538;5087539;5087540", &[5_087_538, 5_087_539, 5_087_540]),
            ("5087538, 5087539", &[5_087_538, 5_087_539]),
            ("5087538, 5087539\n", &[5_087_538, 5_087_539]),
            ("5087538<br><br>5087539", &[5_087_538, 5_087_539]),
            ("MS16-016, 3124280", &[3_124_280]),
            ("MS16-016, 3124280; MS16-097, 3178034", &[3_124_280, 3_178_034]),
            ("890830", &[890_830]),
            ("5087538, 50185", &[5_087_538]),
            ("KB5087538", &[5_087_538]),
            ("None", &[]),
            ("MS16-016", &[]),
            ("", &[]),
            ("50185", &[]),
            ("12345678", &[]),
            ("16.0.10417", &[]),
            ("a5087538", &[]),
            ("5087538_x", &[]),
        ] {
            let found: Vec<u32> = superseded(text).map(KbId::number).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn builds_are_those_of_windows() {
        let build = |build, revision| FixedBuild { build, revision };
        for (text, expected) in [
            ("10.0.17763.8880", &[build(17_763, 8880)][..]),
            ("10.0.14393.5786; 10.0.17763.4131", &[build(14_393, 5786), build(17_763, 4131)]),
            ("10.0.19044.2486/19045", &[build(19_044, 2486)]),
            ("> 6.3.9600.23228", &[build(9600, 23_228)]),
            ("2.0.50727.9183 & 3.0.30729.9169 & 4.8.4805.0", &[]),
            ("16.0.10417.20018", &[]),
            ("https://aka.ms/OfficeSecurityReleases", &[]),
            ("15.0.2123.1", &[]),
            ("10.0.17763", &[]),
            ("", &[]),
        ] {
            assert_eq!(builds(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn kinds_of_fixes_are_known_by_every_spelling() {
        for text in [
            "Security Hotpatch Update",
            "SecurityHotpatchUpdate",
            "AzureHotpatch",
            "Azure Hotpatch",
            "hot patch",
        ] {
            assert!(is_hotpatch(text) && !is_servicing_stack(text), "{text}");
        }
        for text in ["ServicingStackUpdate", "Servicing Stack Update", "servicing stack"] {
            assert!(is_servicing_stack(text) && !is_hotpatch(text), "{text}");
        }
        for text in ["", "Security Update", "Monthly Rollup", "IE Cumulative", "Setup DU"] {
            assert!(!is_servicing_stack(text) && !is_hotpatch(text), "{text}");
        }
    }

    #[test]
    fn restart_is_one_of_three_words() {
        assert_eq!(
            ["Yes", "maybe", "No", "", "Perhaps"].map(restart),
            [Some(Restart::Yes), Some(Restart::Maybe), Some(Restart::No), None, None]
        );
    }
}
