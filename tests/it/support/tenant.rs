//! A tenant of the simulator: its configuration, its files, and its token requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::config::{Auth, Cloud, Http, Quota, SecretSource, Selectors, Tenant};
use mde_exporter::defender::token::{Token, TokenError, TokenSource};
use mde_exporter::http::{self, ProxyMode};
use mde_exporter::model::Source;
use mde_exporter::self_metrics::{SelfMetrics, TenantMetrics};
use mde_simulator::{Endpoint, Options, Simulator};
use reqwest::{StatusCode, Url};
use tempfile::TempDir;

/// Creates or replaces a file.
pub(crate) fn write_file(path: &Path, content: impl AsRef<[u8]>) {
    let mut file = std::fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, content.as_ref()).unwrap();
}

pub(crate) const SCOPE: &str = "https://api.securitycenter.microsoft.com/.default";

/// A simulator, and a folder with the files of its tenant.
pub(crate) struct TestTenant {
    pub(crate) sim: Simulator,
    pub(crate) folder: TempDir,
}

impl TestTenant {
    pub(crate) async fn new() -> Self {
        let sim = Simulator::start(Options::new(Timestamp::now)).await.unwrap();
        let test_tenant = Self { sim, folder: TempDir::new().unwrap() };
        test_tenant.write("ca.pem", test_tenant.sim.ca_pem());
        test_tenant
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        write_file(&path, text);
        path
    }

    /// The configuration of the tenant, with its client secret.
    pub(crate) fn config(&self) -> Tenant {
        let secret = self.write("secret.txt", &format!("{}\n", self.sim.client_secret()));
        self.config_with(Auth::ClientSecret(SecretSource::File(secret)))
    }

    pub(crate) fn config_with(&self, auth: Auth) -> Tenant {
        tenant(
            &self.sim.authority_url(),
            self.sim.tenant_id(),
            self.sim.client_id(),
            self.folder.path(),
            auth,
        )
    }

    pub(crate) fn requests(&self) -> u64 {
        self.sim.control().requests(Endpoint::Token)
    }

    /// The fields of the newest token request, sorted by name.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let mut fields = self.sim.control().token_requests().pop().unwrap().fields;
        fields.sort();
        fields
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let request = self.sim.control().token_requests().pop().unwrap();
        request.field(name).unwrap_or_default().to_owned()
    }
}

pub(crate) fn tenant(authority: &str, tenant_id: &str, client_id: &str, folder: &Path, auth: Auth) -> Tenant {
    let url: Url = authority.parse().unwrap();
    Tenant {
        name: "contoso".into(),
        tenant_id: tenant_id.to_owned(),
        client_id: Some(client_id.to_owned()),
        auth,
        cloud: Cloud::Commercial,
        authority_url: url.clone(),
        api_url: url,
        scope: SCOPE.to_owned(),
        http: Http {
            timeout: Duration::from_secs(10),
            ca_file: Some(folder.join("ca.pem")),
            proxy_url: None,
        },
        source: Source::Machines,
        machines: Selectors::default(),
        quota: Quota { per_minute: 50.try_into().unwrap(), per_hour: 1500.try_into().unwrap(), share: 0.8 },
    }
}

/// Self metrics of a tenant, for tests that do not read them.
pub(crate) fn metrics() -> TenantMetrics {
    Arc::new(SelfMetrics::new("test")).tenant("contoso")
}

/// A token source whose connections do not depend on the environment of the tests.
pub(crate) fn source(tenant: &Tenant) -> TokenSource {
    source_at(tenant, Clock::system())
}

pub(crate) fn source_at(tenant: &Tenant, clock: Clock) -> TokenSource {
    let route = if tenant.http.proxy_url.is_some() { ProxyMode::Configured } else { ProxyMode::Direct };
    TokenSource::new(tenant, http::client(&tenant.http, route).unwrap(), clock, metrics())
}

/// All texts of an error: `Display`, `Debug` and its sources.
pub(crate) fn text(error: &TokenError) -> String {
    let mut text = format!("{error} | {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text} | {error}");
        cause = error.source();
    }
    text
}

pub(crate) async fn call_api(tenant: &Tenant, token: &Token) -> StatusCode {
    let route = if tenant.http.proxy_url.is_some() { ProxyMode::Configured } else { ProxyMode::Direct };
    let url = tenant.api_url.join("/api/machines").unwrap();
    let client = http::client(&tenant.http, route).unwrap();
    client.get(url).bearer_auth(token.expose()).send().await.unwrap().status()
}
