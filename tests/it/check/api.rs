//! Errors of the API and of the export.

use mde_simulator::{Endpoint, Fault, QuotaPeriod};

use crate::support::check::{EXPORT, faults, golden};

#[tokio::test]
async fn api_errors_are_diagnosed() {
    let role = || Fault::Forbidden("Machine.Read.All".to_owned());
    let listed = vec![
        role(),
        Fault::Unauthorized,
        Fault::Status(403),
        Fault::Status(400),
        Fault::Status(500),
        Fault::HtmlError(503),
        Fault::Throttle { retry_after: Some("17".to_owned()), window: QuotaPeriod::Minute },
        Fault::Throttle { retry_after: Some("1800".to_owned()), window: QuotaPeriod::Hour },
        Fault::NotFound,
        Fault::Truncated,
        Fault::NotJson,
        Fault::WrongShape,
        Fault::Reset,
        Fault::EndlessPaging,
        Fault::EndlessEmptyPages,
        Fault::RepeatedLink,
        Fault::ForeignNextLink("https://api-gov.securitycenter.microsoft.us/api/machines".to_owned()),
        Fault::HugeBody,
        Fault::CompressedBomb,
        Fault::Redirect("https://portal.example/".to_owned()),
        Fault::Body(br#"{"value":[{"id":7},{"no":"id"}]}"#.to_vec()),
    ];
    let answered = vec![
        Fault::Forbidden("Software.Read.All".to_owned()),
        Fault::Status(403),
        Fault::NotFound,
        Fault::Status(500),
    ];
    let cases = faults(Endpoint::Machines, &[], listed)
        .chain(faults(Endpoint::MissingKbs, &[], answered))
        .chain(faults(
            Endpoint::FindByTag,
            &[("{ all: true }", "{ tags: [pilot] }")],
            vec![role(), Fault::Status(500)],
        ));
    golden("api", cases.collect()).await;
}

#[tokio::test]
async fn export_errors_are_diagnosed() {
    let list = vec![
        Fault::Forbidden("Vulnerability.Read.All".to_owned()),
        Fault::Throttle { retry_after: Some("600".to_owned()), window: QuotaPeriod::Hour },
        Fault::WrongShape,
        Fault::Body(br#"{"exportFiles":[],"generatedTime":"2026-03-20T00:00:00Z"}"#.to_vec()),
        Fault::ForeignNextLink("http://files.example/1?sig=canary".to_owned()),
        Fault::ForeignNextLink("https://files.invalid/1?sig=canary".to_owned()),
    ];
    let file = vec![
        Fault::Status(403),
        Fault::NotFound,
        Fault::Throttle { retry_after: Some("30".to_owned()), window: QuotaPeriod::Minute },
        Fault::Reset,
        Fault::Redirect("https://portal.example/".to_owned()),
    ];
    let cases =
        faults(Endpoint::Export, &[EXPORT], list).chain(faults(Endpoint::ExportFile, &[EXPORT], file));
    golden("export", cases.collect()).await;
}
