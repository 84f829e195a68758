//! One request for one token, sent by Microsoft's identity library.
//!
//! A credential lives for a single request. The library caches tokens, secrets and federated tokens; that is
//! avoided here, because a rejected token must not be returned again and a replaced secret must be used at
//! once.
//!
//! The library sends its requests through [`Transport`], which adds what the library lacks: the configured
//! connection settings, a limit on the size of replies, and the body of an error reply. The library's own
//! errors are not sufficient for that: they lose the status of every reply that is not JSON, and cannot parse
//! a description with a line break, which all of Entra's descriptions have.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, Body, ClientMethodOptions, ClientOptions, HttpClient, Request, RetryOptions,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId,
};
use jiff::Timestamp;
use reqwest::Url;

use super::certificate;
use super::clock_skew::ClockSkew;
use super::token_error::{SecretError, TokenError, TokenRefusal, read, read_variable};
use super::transport_error::TransportError;
use crate::config::{Auth, SecretSource, Tenant};

/// The longest reply that is read. A token has a few kilobytes.
const LONGEST_REPLY_BYTES: usize = 256 * 1024;

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
        client: &reqwest::Client,
        now: Timestamp,
        clock_skew: &ClockSkew,
    ) -> Result<AccessToken, TokenError> {
        let transport = Arc::new(Transport {
            client: client.clone(),
            clock_skew: clock_skew.clone(),
            last: Mutex::default(),
        });
        let credential = self.credential(Arc::clone(&transport), now)?;
        let scopes = [self.scope.as_str()];
        let reply = tokio::time::timeout(self.time_limit, credential.get_token(&scopes, None)).await;
        match (reply, transport.last()) {
            (Ok(Ok(token)), _) if !token.token.secret().is_empty() => Ok(token),
            (_, Some(TokenReply::Failed(source))) => {
                Err(TokenError::Network { endpoint: Arc::clone(&self.endpoint), source })
            }
            (_, Some(TokenReply::TooLong { status })) => Err(self.bad_reply(status, "it is too long")),
            (_, Some(TokenReply::Refused { status, body })) => Err(self.refusal(status, &body)),
            (Ok(_), Some(TokenReply::Success { status })) => {
                Err(self.bad_reply(status, "it contains no token"))
            }
            (Ok(Err(error)), None) => Err(TokenError::Unusable { source: Arc::new(error) }),
            (_, Some(TokenReply::TimedOut)) | (Ok(Ok(_)) | Err(_), _) => Err(self.timeout()),
        }
    }

    fn credential(
        &self,
        transport: Arc<Transport>,
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
    fn client_options(&self, transport: Arc<Transport>) -> ClientOptions {
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

    fn timeout(&self) -> TokenError {
        TokenError::Timeout { endpoint: Arc::clone(&self.endpoint) }
    }

    pub(super) fn bad_reply(&self, status: u16, problem: &'static str) -> TokenError {
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

/// Sends the library's requests with the tenant's HTTP client and keeps the outcome of the last one.
struct Transport {
    client: reqwest::Client,
    clock_skew: ClockSkew,
    last: Mutex<Option<TokenReply>>,
}

/// The outcome of a token request.
#[derive(Clone)]
enum TokenReply {
    /// No complete reply in time.
    TimedOut,
    /// No complete reply because of a transport error.
    Failed(TransportError),
    /// A reply above the size limit.
    TooLong { status: u16 },
    /// A reply with a status outside of 200 to 299.
    Refused { status: u16, body: Vec<u8> },
    /// A reply with a status of 200 to 299. Its body is not kept, because it contains a token.
    Success { status: u16 },
}

impl Transport {
    fn last(&self) -> Option<TokenReply> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ended(&self, outcome: TokenReply) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn failed(&self, error: reqwest::Error) -> azure_core::Error {
        self.ended(if error.is_timeout() {
            TokenReply::TimedOut
        } else {
            TokenReply::Failed(TransportError::of(error))
        });
        azure_core::Error::with_message(ErrorKind::Io, "the request failed")
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[async_trait::async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|error| azure_core::Error::new(ErrorKind::DataConversion, error))?;
        let mut builder = self.client.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(body) = request.body() {
            builder = builder.body(body.clone());
        }
        let mut reply = builder.send().await.map_err(|error| self.failed(error))?;

        self.clock_skew.read(reply.headers());
        let status = reply.status().as_u16();
        let mut headers = Headers::new();
        for (name, value) in reply.headers() {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(|error| self.failed(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_REPLY_BYTES {
                self.ended(TokenReply::TooLong { status });
                return Err(azure_core::Error::with_message(ErrorKind::Other, "the reply is too long"));
            }
        }
        self.ended(match status {
            200..=299 => TokenReply::Success { status },
            _ => TokenReply::Refused { status, body: body.clone() },
        });
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
    }
}
