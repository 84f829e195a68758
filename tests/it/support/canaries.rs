//! Secrets that are easy to find, and the search for them.

use std::collections::BTreeSet;

use super::tenant::TestTenant;

pub(crate) const FEDERATED: &str = "eyJmZWRlcmF0ZWQ.Y2FuYXJ5.ZmVkZXJhdGVkLWNhbmFyeQ";
pub(crate) const PROXY_PASSWORD: &str = "canary-of-the-proxy";
/// The user and password above, as a proxy receives them.
const PROXY_LOGIN: &str = "dXNlcjpjYW5hcnktb2YtdGhlLXByb3h5";
pub(crate) const VARIABLE: &str = "canary-of-the-environment";

/// Secrets that must not be found, by their kind.
pub(crate) struct Canaries(pub(crate) BTreeSet<(&'static str, String)>);

impl Canaries {
    /// The planted secrets, and the tokens and assertions that were sent.
    pub(crate) fn of(test_tenant: &TestTenant) -> Self {
        let control = test_tenant.sim.control();
        let mut secrets: BTreeSet<_> = [
            ("client secret", test_tenant.sim.client_secret()),
            ("identity header", test_tenant.sim.identity_header()),
            ("link", test_tenant.sim.link_secret()),
            ("federated token", FEDERATED),
            ("proxy password", PROXY_PASSWORD),
            ("proxy login", PROXY_LOGIN),
            ("variable", VARIABLE),
        ]
        .map(|(kind, secret)| (kind, secret.to_owned()))
        .into();
        let key = std::fs::read_to_string(test_tenant.folder.path().join("client.pem")).unwrap();
        let (_, key) = key.split_once("BEGIN PRIVATE KEY-----").unwrap();
        secrets.extend(key.lines().filter(|line| line.len() > 20).map(|line| ("key", line.to_owned())));
        for call in control.calls() {
            let token = call.authorization.as_deref().and_then(|header| header.strip_prefix("Bearer "));
            secrets.extend(token.map(|token| ("access token", token.to_owned())));
        }
        for request in control.token_requests() {
            let assertion = request.field("client_assertion").filter(|assertion| !assertion.is_empty());
            secrets.extend(assertion.map(|assertion| ("assertion", assertion.to_owned())));
        }
        // The signature alone gives a signed text away, and a long text may be truncated.
        let parts: Vec<_> = secrets
            .iter()
            .filter(|(kind, _)| ["access token", "assertion", "federated token"].contains(kind))
            .flat_map(|(kind, signed)| {
                let signature = signed.rsplit('.').next().unwrap_or_default();
                [signature, &signed[..signed.len().min(40)]].map(|part| (*kind, part.to_owned()))
            })
            .collect();
        secrets.extend(parts.into_iter().filter(|(_, part)| part.len() > 8 && !part.starts_with("eyJ0eXAi")));
        Self(secrets)
    }

    /// The kinds of secrets in `bytes`, plain or URL-encoded.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        let text = String::from_utf8_lossy(bytes);
        let is_in = |secret: &str| {
            let encoded: String =
                reqwest::Url::parse_with_params("x:/", [("", secret)]).unwrap().query().unwrap()[1..]
                    .to_owned();
            text.contains(secret) || text.contains(&encoded)
        };
        self.0.iter().filter(|(_, secret)| is_in(secret)).map(|(kind, _)| *kind).collect()
    }

    pub(crate) fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{found:?} in {place}:\n{}", String::from_utf8_lossy(bytes));
    }
}
