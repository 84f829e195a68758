//! One request for one token, sent by Microsoft's identity library.
//!
//! A credential lives for a single request. The library caches tokens, secrets and federated tokens; that is
//! avoided here, because a rejected token must not be returned again and a replaced secret must be used at
//! once.
//!
//! The library sends its requests through [`TokenTransport`], which adds what the library lacks: the configured
//! connection settings, a limit on the size of replies, tolerant decoding, and the body of an error reply. The
//! library's own errors are not sufficient for that: they lose the status of every reply that is not JSON, and
//! cannot parse a description with a line break, which all of Entra's descriptions have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId,
};
use jiff::Timestamp;
use reqwest::Url;

use super::certificate;
use super::managed_identity::IdentityHost;
use super::token_error::{SecretError, TokenError, TokenRefusal, read, read_variable};
use super::token_reply::IssuedToken;
use super::token_transport::{TokenReply, TokenTransport};
use crate::config::{Auth, SecretSource, Tenant};

/// The variable with the path of the federated token, used if the configuration names no file. Azure's
/// workload identity webhook sets it in a pod
/// (<https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html>).
const FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// The parameters of a tenant's token requests.
pub(super) struct Grant {
    auth: Auth,
    tenant_id: String,
    client_id: String,
    authority: Url,
    scope: String,
    time_limit: Duration,
    /// Host for messages.
    endpoint: Arc<str>,
}

impl Grant {
    pub(super) fn of(tenant: &Tenant) -> Self {
        let endpoint = match tenant.auth {
            Auth::ManagedIdentity { .. } => "managed identity endpoint",
            _ => tenant.authority_url.host_str().unwrap_or_default(),
        };
        Self {
            auth: tenant.auth.clone(),
            tenant_id: tenant.tenant_id.clone(),
            client_id: tenant.client_id.clone().unwrap_or_default(),
            authority: tenant.authority_url.clone(),
            scope: tenant.scope.clone(),
            time_limit: tenant.http.timeout,
            endpoint: endpoint.into(),
        }
    }

    /// Requests a token once. The library repeats requests to the endpoint of a managed identity for up to
    /// 72 seconds; the time limit applies to all of them together.
    pub(super) async fn request_token(
        &self,
        transport: TokenTransport,
        now: Timestamp,
    ) -> Result<IssuedToken, TokenError> {
        let transport = Arc::new(transport);
        let reply = tokio::time::timeout(self.time_limit, self.send(&transport, now)).await;
        match (transport.last(), reply) {
            (_, Ok(Err(error))) => Err(error),
            (Some(TokenReply::Issued(token)), _) if token.life.is_zero() => {
                Err(self.bad_reply(200, "its token has expired; check the clock of this machine"))
            }
            (Some(TokenReply::Issued(token)), _) => Ok(token),
            (Some(TokenReply::Failed(source)), _) => {
                Err(TokenError::Network { endpoint: Arc::clone(&self.endpoint), source })
            }
            (Some(TokenReply::TooLong { status }), _) => Err(self.bad_reply(status, "it is too long")),
            (Some(TokenReply::Refused { status, body }), _) => Err(self.refusal(status, &body)),
            (Some(TokenReply::Empty { status }), _) => Err(self.bad_reply(status, "it contains no token")),
            (None, Ok(Ok(Some(error)))) => Err(TokenError::Unusable { source: Arc::new(error) }),
            (Some(TokenReply::TimedOut) | None, _) => Err(self.timeout()),
        }
    }

    /// Sends the requests for a token, whose outcome `transport` keeps. Returns the error of the library.
    async fn send(
        &self,
        transport: &Arc<TokenTransport>,
        now: Timestamp,
    ) -> Result<Option<azure_core::Error>, TokenError> {
        if let Auth::ManagedIdentity { client_id } = &self.auth
            && let Some(host) = IdentityHost::beyond_the_library()
        {
            let resource = self.scope.trim_end_matches("/.default");
            return host.request_token(transport, resource, client_id.as_deref()).await.map(|()| None);
        }
        let credential = self.credential(Arc::clone(transport), now)?;
        Ok(credential.get_token(&[self.scope.as_str()], None).await.err())
    }

    fn credential(
        &self,
        transport: Arc<TokenTransport>,
        now: Timestamp,
    ) -> Result<Arc<dyn TokenCredential>, TokenError> {
        let client_options = self.client_options(transport);
        let credential: azure_core::Result<Arc<dyn TokenCredential>> = match &self.auth {
            Auth::ClientSecret(source) => {
                let secret = client_secret(source).map_err(unreadable("client secret"))?;
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(&self.tenant_id, self.client_id.clone(), secret, Some(options))
                    .map(|credential| credential as _)
            }
            Auth::ClientCertificate(path) => {
                let assertion = certificate::assertion(path, &self.token_url(), &self.client_id, now)
                    .map_err(unreadable("client certificate"))?;
                self.assertion_credential(assertion, client_options)
            }
            Auth::WorkloadIdentity { token_file } => {
                let assertion = federated_token(token_file.clone()).map_err(unreadable("federated token"))?;
                self.assertion_credential(assertion, client_options)
            }
            Auth::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options)).map(|credential| credential as _)
            }
        };
        credential.map_err(|source| TokenError::Unusable { source: Arc::new(source) })
    }

    fn assertion_credential(
        &self,
        assertion: String,
        client_options: ClientOptions,
    ) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let credential = ClientAssertionCredential::new(
            self.tenant_id.clone(),
            self.client_id.clone(),
            Assertion(Secret::new(assertion)),
            Some(ClientAssertionCredentialOptions { client_options }),
        )?;
        Ok(credential)
    }

    /// The caller retries, because it knows how long it may wait.
    fn client_options(&self, transport: Arc<TokenTransport>) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority.to_string();
        ClientOptions {
            transport: Some(azure_core::http::Transport::new(transport)),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(cloud.into())),
            ..ClientOptions::default()
        }
    }

    /// The URL to which the library sends the request. An assertion must name it.
    fn token_url(&self) -> String {
        let mut url = self.authority.clone();
        url.set_path(&format!("/{}/oauth2/v2.0/token", self.tenant_id));
        url.into()
    }

    fn refusal(&self, status: u16, body: &[u8]) -> TokenError {
        match TokenRefusal::parse(&self.endpoint, status, body) {
            Some(mut refusal) => {
                if matches!(self.auth, Auth::ManagedIdentity { .. }) && status == 400 {
                    refusal.hint =
                        refusal.hint.or(Some("check that the identity is assigned to this machine"));
                }
                TokenError::Refused(Box::new(refusal))
            }
            None => self.bad_reply(status, "it contains no reason"),
        }
    }

    /// Host for messages.
    pub(super) fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    /// Returns whether tokens come from the same endpoint as those of `other`.
    pub(super) fn has_endpoint_of(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint && self.authority == other.authority
    }

    fn timeout(&self) -> TokenError {
        TokenError::Timeout { endpoint: Arc::clone(&self.endpoint) }
    }

    fn bad_reply(&self, status: u16, problem: &'static str) -> TokenError {
        TokenError::BadReply { endpoint: Arc::clone(&self.endpoint), status, problem }
    }
}

fn unreadable(what: &'static str) -> impl Fn(SecretError) -> TokenError {
    move |source| TokenError::SecretUnreadable { what, source }
}

fn client_secret(source: &SecretSource) -> Result<Secret, SecretError> {
    match source {
        SecretSource::File(path) => read(path),
        SecretSource::Environment(name) => read_variable(name),
    }
    .map(Secret::new)
}

fn federated_token(file: Option<PathBuf>) -> Result<String, SecretError> {
    let file = match file {
        Some(file) => file,
        None => PathBuf::from(read_variable(FEDERATED_TOKEN_FILE)?),
    };
    read(&file)
}

/// An assertion that is created before the request, so that its errors are reported in this module's terms.
#[derive(Debug)]
struct Assertion(Secret);

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.secret().to_owned())
    }
}
