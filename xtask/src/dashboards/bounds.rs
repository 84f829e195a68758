//! Where a colour changes. Each of these is the bound of an alert in `dashboards/rules`, which
//! `thresholds` holds, so that a panel is never red while nothing fires.

/// `MdeComplianceLow`: share of judged machines that miss nothing.
pub(crate) const COMPLIANCE_LOW: f64 = 0.9;
/// What a fleet that is well kept reaches.
pub(crate) const COMPLIANCE_GOOD: f64 = 0.95;
/// `MdeMachinesOverdue`: share of judged machines past the deadline of a policy.
pub(crate) const OVERDUE_SHARE: f64 = 0.05;
/// `MdeCollectionIncomplete`: share of machines of which nothing is known.
pub(crate) const UNKNOWN_SHARE: f64 = 0.05;
/// `MdeMachinesInactive`: share of machines that Defender has not seen for long.
pub(crate) const INACTIVE_SHARE: f64 = 0.1;
/// `MdeUpdateSpread`: share of judged machines that miss one update.
pub(crate) const SPREAD_SHARE: f64 = 0.25;
/// `MdeDataStale`: intervals since the last good poll.
pub(crate) const STALE_INTERVALS: f64 = 3.0;
/// `MdeDataStaleLong`: seconds since the last good poll.
pub(crate) const STALE_LONG_SECS: f64 = 86_400.0;
/// `MdeWebCertificateExpiring`: seconds that the certificate is still good for.
pub(crate) const CERTIFICATE_SECS: f64 = 14.0 * 86_400.0;
