//! The values at which panels change their colour. Most are the thresholds of alerts in `dashboards/rules`, as
//! the test `thresholds` checks: a panel is not red while no alert fires.

/// `MdeComplianceLow`: share of the judged machines within the deadlines of a policy.
pub(crate) const WITHIN_LOW: f64 = 0.9;
/// The same share in a well-maintained fleet: the others are fewer than `MdeMachinesOverdue` needs.
pub(crate) const WITHIN_GOOD: f64 = 0.95;
/// `MdeMachinesOverdue`: share of the judged machines past the deadline of a policy.
pub(crate) const OVERDUE_SHARE: f64 = 0.05;
/// `MdeCollectionIncomplete`: share of unknown machines.
pub(crate) const UNKNOWN_SHARE: f64 = 0.05;
/// `MdeNothingInScope`: machines of a tenant that are not unsupported.
pub(crate) const NO_MACHINES: f64 = 0.0;
/// `MdeMachinesInactive`: share of inactive machines.
pub(crate) const INACTIVE_SHARE: f64 = 0.1;
/// `MdeUpdateSpread`: share of assessed machines that miss the same update.
pub(crate) const SPREAD_SHARE: f64 = 0.25;
/// `MdeDataStale`: poll intervals since the last good answer.
pub(crate) const STALE_INTERVALS: f64 = 3.0;
/// `MdeDataStaleLong`: seconds since the last good answer.
pub(crate) const STALE_LONG_SECS: f64 = 86_400.0;
/// `MdeWebCertificateExpiring`: seconds until the certificate expires.
pub(crate) const CERTIFICATE_SECS: f64 = 14.0 * 86_400.0;
/// `MdeClientCertificateExpiring`: seconds until the certificate of an application expires.
pub(crate) const CLIENT_CERTIFICATE_SECS: f64 = 30.0 * 86_400.0;
/// `MdeExploitedUpdateMissing`: overdue missing updates against an exploited vulnerability.
pub(crate) const EXPLOITED_OVERDUE: f64 = 0.0;
/// `MdeExceptionEnding`: seconds until an exception ends.
pub(crate) const EXCEPTION_ENDING_SECS: f64 = 14.0 * 86_400.0;
/// `MdeExceptionUnused`: missing updates, and machines past end of servicing, that an exception covers.
pub(crate) const EXCEPTION_UNUSED: f64 = 0.0;
/// `MdeServicingEnded`: machines past end of servicing.
pub(crate) const SERVICING_ENDED: f64 = 0.0;
/// `MdeServicingEnding`: seconds until the servicing of a version ends.
pub(crate) const SERVICING_ENDING_SECS: f64 = 90.0 * 86_400.0;
/// `MdeFactsOld`: seconds since the facts of a source were fetched.
pub(crate) const FACTS_OLD_SECS: f64 = 3.0 * 86_400.0;
/// A week, after which a due date is no longer near.
pub(crate) const WEEK_SECS: f64 = 7.0 * 86_400.0;
