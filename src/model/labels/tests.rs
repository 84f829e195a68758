//! The words and their order.

use super::*;

#[test]
fn failure_reasons_are_in_alphabetical_order() {
    assert!(FailureReason::ALL.is_sorted_by_key(|reason| reason.as_str()));
}

#[test]
fn facts_failures_are_in_alphabetical_order() {
    assert!(FactsFailure::ALL.is_sorted_by_key(|reason| reason.as_str()));
    assert!(FactsSource::ALL.iter().all(|&source| FactsOrigin::from(source).as_str() == source.as_str()));
}

#[test]
fn words_name_their_variants() {
    for level in DetailLevel::ALL {
        assert_eq!(DetailLevel::from_word(level.as_str()), Some(level));
    }
    assert_eq!(DetailLevel::from_word("Fleet"), None);
    assert_eq!(Severity::parse("CRITICAL"), Some(Severity::Critical));
}
