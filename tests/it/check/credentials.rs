//! Credentials, tokens and application roles.

use jiff::SignedDuration;
use mde_simulator::{Endpoint, Fault, QuotaPeriod};

use crate::support::certificates::{client_certificate, client_certificate_valid};
use crate::support::check::{
    CERTIFICATE, CaseOutput, EXPORT, FEDERATED, MANAGED, NOTHING, SECRET, case, check, check_with, config,
    faults, golden, test_tenant, test_tenant_of, with_certificate,
};
use crate::support::tenant::write_file;

#[tokio::test]
async fn rejected_credentials_come_with_advice() {
    let mut cases = vec![
        case("wrong client secret", &[], |test_tenant| {
            drop(test_tenant.write("secret.txt", "not-the-secret"));
        }),
        case("expired client secret", &[], |test_tenant| test_tenant.sim.control().set_client_secret(None)),
        case("no file with the secret", &[("secret.txt", "gone.txt")], NOTHING),
        case("empty file with the secret", &[], |test_tenant| drop(test_tenant.write("secret.txt", "\n"))),
        case("variable that is not set", &[(SECRET, "client_secret_env: MDE_SECRET")], NOTHING),
        case("unknown client", &[("client_id: c", "client_id: d")], NOTHING),
        case("unknown tenant", &[("tenant_id: 7", "tenant_id: 8")], NOTHING),
        case("certificate that is not registered", &[CERTIFICATE], |test_tenant| {
            with_certificate(test_tenant);
            test_tenant.sim.control().register_certificate(&client_certificate().0).unwrap();
        }),
        case("certificate without a key", &[CERTIFICATE], |test_tenant| {
            test_tenant.write("client.pem", test_tenant.sim.ca_pem());
        }),
        case("federated token that is not registered", &[FEDERATED], |test_tenant| {
            test_tenant.write("federated", "eyJ.from.elsewhere");
        }),
        case("no file with the federated token", &[(SECRET, "workload_identity: {}")], NOTHING),
        case("scope that is none", &[("    api_url", "    scope: nonsense/.default\n    api_url")], NOTHING),
    ];
    for (title, content) in [
        ("certificate in a PFX file", b"\x30\x82\x0a\x00\x02\x01\x03\x30".to_vec()),
        ("certificate in DER form", b"\x30\x82\x03\x00\x30\x82\x02".to_vec()),
        ("certificate in UTF-16", "-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("trusted certificate of OpenSSL", b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n".to_vec()),
    ] {
        let output = async move {
            let test_tenant = test_tenant().await;
            write_file(&test_tenant.folder.path().join("client.pem"), content);
            check(&test_tenant, &config(&test_tenant, &[CERTIFICATE])).await
        };
        cases.push((title.to_owned(), Box::pin(output)));
    }
    let utf_16 = async {
        let test_tenant = test_tenant().await;
        let secret = format!("\u{feff}{}\r\n", test_tenant.sim.client_secret());
        let secret: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        write_file(&test_tenant.folder.path().join("secret.txt"), secret);
        check(&test_tenant, &config(&test_tenant, &[])).await
    };
    cases.push(("secret in UTF-16".to_owned(), Box::pin(utf_16)));
    let fabric = async {
        let test_tenant = test_tenant().await;
        let endpoint = test_tenant.sim.identity_endpoint();
        let variables = [
            ("IDENTITY_ENDPOINT", endpoint.as_str()),
            ("IDENTITY_HEADER", "none"),
            ("IDENTITY_SERVER_THUMBPRINT", "none"),
        ];
        check_with(&test_tenant, &config(&test_tenant, &[MANAGED]), &[], &variables).await
    };
    cases.push(("managed identity of Service Fabric".to_owned(), Box::pin(fabric)));
    let nowhere = async {
        let test_tenant = test_tenant().await;
        let variables = [("IDENTITY_ENDPOINT", "https://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "none")];
        check_with(&test_tenant, &config(&test_tenant, &[MANAGED]), &[], &variables).await
    };
    cases.push(("managed identity where there is none".to_owned(), Box::pin(nowhere)));
    golden("credentials", cases).await;
}

#[tokio::test]
async fn wrong_clock_is_diagnosed() {
    let output = async {
        let test_tenant = test_tenant_of(5, SignedDuration::from_mins(20)).await;
        test_tenant.sim.control().register_certificate(&with_certificate(&test_tenant)).unwrap();
        check(&test_tenant, &config(&test_tenant, &[CERTIFICATE])).await
    };
    let mut cases: Vec<(String, CaseOutput)> =
        vec![("the assertion has expired".to_owned(), Box::pin(output))];
    for (title, seconds) in [("far behind", 1_200), ("far ahead", -7_500), ("a little ahead", -60)] {
        let output = async move {
            let test_tenant = test_tenant_of(5, SignedDuration::from_secs(seconds)).await;
            check(&test_tenant, &config(&test_tenant, &[])).await
        };
        cases.push((format!("a clock {title}"), Box::pin(output)));
    }
    golden("clock", cases).await;
}

#[tokio::test]
async fn client_certificate_is_checked_for_its_end() {
    for (from, to, line) in [
        (-400, -2, "certificate     failed:  expired on "),
        (-1, 10, "certificate     warning: valid until "),
        (-1, 31, "certificate     ok:      valid until "),
        (3, 400, "certificate     failed:  not valid before "),
    ] {
        let test_tenant = test_tenant().await;
        let (certificate, key) = client_certificate_valid(from, to);
        test_tenant.sim.control().register_certificate(&certificate).unwrap();
        // OpenSSL writes the subject before a certificate, in the encoding of the certificate.
        let content =
            [b"subject=CN = M\xfcnchen\n", certificate.as_bytes(), b"\xe4\n", key.as_bytes()].concat();
        write_file(&test_tenant.folder.path().join("client.pem"), content);
        let output = check(&test_tenant, &config(&test_tenant, &[CERTIFICATE])).await;
        assert!(output.contains(line), "{line}:\n{output}");
        let fails = line.contains("failed");
        assert!(output.starts_with(if fails { "exit code 1" } else { "exit code 0" }), "{output}");
        assert!(output.contains("token           ok"), "{output}");
    }
}

#[tokio::test]
async fn entra_errors_are_diagnosed() {
    let passing = vec![
        Fault::Aadsts(53_003),
        Fault::Aadsts(900_382),
        Fault::Aadsts(900_439),
        Fault::Aadsts(900_440),
        Fault::Aadsts(1_000_502),
        Fault::Aadsts(7_000_112),
        Fault::Aadsts(650_052),
        Fault::Aadsts(12_345),
        Fault::Status(503),
        Fault::Throttle { retry_after: Some("17".to_owned()), window: QuotaPeriod::Minute },
        Fault::HtmlError(502),
        Fault::NotJson,
        Fault::WrongShape,
        Fault::HugeBody,
        Fault::Truncated,
        Fault::Reset,
        Fault::Redirect("https://login.example/".to_owned()),
        Fault::Body(br#"{"token_type":"Bearer","expires_in":3599,"access_token":"opaque"}"#.to_vec()),
    ];
    golden("entra", faults(Endpoint::Token, &[], passing).collect()).await;
}

#[tokio::test]
async fn missing_role_is_named_with_the_place_to_grant_it() {
    let mut cases = vec![
        case("no consent", &[], |test_tenant| test_tenant.sim.control().set_roles(&[])),
        case("no role for the source", &[], |test_tenant| {
            test_tenant.sim.control().set_roles(&["Machine.Read.All"]);
        }),
        case("no role for the export", &[EXPORT], |test_tenant| {
            test_tenant.sim.control().set_roles(&["Machine.Read.All", "Software.Read.All"]);
        }),
        case("no role for the list", &[], |test_tenant| {
            test_tenant.sim.control().set_roles(&["Software.Read.All"]);
        }),
        case(
            "token of another API",
            &[("    api_url", "    scope: https://api.security.microsoft.com/.default\n    api_url")],
            NOTHING,
        ),
    ];
    for (title, roles) in
        [("ids need no list", &["Software.Read.All"][..]), ("ids need the role of the source", &[])]
    {
        let output = async move {
            let test_tenant = test_tenant().await;
            test_tenant.sim.control().set_roles(roles);
            let ids = format!("{{ ids: [{}] }}", test_tenant.sim.control().machine_ids()[0]);
            check(&test_tenant, &config(&test_tenant, &[("{ all: true }", &ids)])).await
        };
        cases.push((title.to_owned(), Box::pin(output)));
    }
    let managed = async {
        let test_tenant = test_tenant().await;
        test_tenant.sim.control().set_roles(&["Machine.Read.All"]);
        let (endpoint, header) = (test_tenant.sim.identity_endpoint(), test_tenant.sim.identity_header());
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)];
        check_with(&test_tenant, &config(&test_tenant, &[MANAGED]), &[], &variables).await
    };
    cases.push(("no role of a managed identity".to_owned(), Box::pin(managed)));
    golden("roles", cases).await;
}
