//! One request for one token, made by Microsoft's own identity library.
//!
//! A credential lives for a single request. The library keeps tokens, secrets and federated tokens
//! for a while; nothing here may do so, since a token that the API rejected must not come back and a
//! secret that was replaced must be used at once.
//!
//! The library's requests leave through [`Transport`], which adds what it lacks: our connection
//! settings, a bound on the size of replies, and the reply itself when it is a refusal. The library's
//! own errors cannot be used for that: they lose the status of every reply that is not JSON, and
//! cannot read a description that has a line break, which all of Entra's have.

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
use super::token_error::{Refusal, SecretError, TokenError, read, read_variable};
use super::transport_error::TransportError;
use crate::config::{Auth, SecretSource, Tenant};

/// Longest reply that is read. A token has a few kilobytes.
const LONGEST_REPLY_BYTES: usize = 256 * 1024;

/// Names the file with the federated token where the configuration does not; Azure's workload
/// identity webhook sets it in a pod
/// (<https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html>).
const FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// What a tenant's requests for tokens are made of.
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

    /// Asks for a token once. The library repeats requests to the endpoint of a managed identity
    /// for up to 72 seconds; the time limit holds for all of them together.
    pub(super) async fn ask(
        &self,
        client: &reqwest::Client,
        now: Timestamp,
        their_clock: &ClockSkew,
    ) -> Result<AccessToken, TokenError> {
        let transport = Arc::new(Transport {
            client: client.clone(),
            their_clock: their_clock.clone(),
            last: Mutex::default(),
        });
        let credential = self.credential(Arc::clone(&transport), now)?;
        let scopes = [self.scope.as_str()];
        let answer = tokio::time::timeout(self.time_limit, credential.get_token(&scopes, None)).await;
        match (answer, transport.last()) {
            (Ok(Ok(token)), _) if !token.token.secret().is_empty() => Ok(token),
            (_, Some(Outcome::Failed(source))) => {
                Err(TokenError::Network { endpoint: Arc::clone(&self.endpoint), source })
            }
            (_, Some(Outcome::TooLong { status })) => Err(self.bad_reply(status, "it is too long")),
            (_, Some(Outcome::Refused { status, body })) => Err(self.refusal(status, &body)),
            (Ok(_), Some(Outcome::Fine { status })) => Err(self.bad_reply(status, "it holds no token")),
            (Ok(Err(error)), None) => Err(TokenError::Unusable { source: Arc::new(error) }),
            (_, Some(Outcome::Late)) | (Ok(Ok(_)) | Err(_), _) => Err(self.timeout()),
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

    /// Retries are the caller's, which knows how long it may wait.
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

    /// Where the library sends the request, which an assertion must name.
    fn token_url(&self) -> String {
        let mut url = self.authority.clone();
        url.set_path(&format!("/{}/oauth2/v2.0/token", self.tenant_id));
        url.into()
    }

    fn refusal(&self, status: u16, body: &[u8]) -> TokenError {
        match Refusal::parse(&self.endpoint, status, body) {
            Some(mut refusal) => {
                if matches!(self.auth, Auth::ManagedIdentity { .. }) && status == 400 {
                    refusal.hint = refusal.hint.or(Some("is the identity assigned to this machine?"));
                }
                TokenError::Refused(Box::new(refusal))
            }
            None => self.bad_reply(status, "it gives no reason"),
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

/// An assertion that was made beforehand: its errors are ours then, not the library's.
#[derive(Debug)]
struct Assertion(Secret);

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.secret().to_owned())
    }
}

/// Sends the library's requests with our client and keeps how the last one ended.
struct Transport {
    client: reqwest::Client,
    their_clock: ClockSkew,
    last: Mutex<Option<Outcome>>,
}

/// How a request ended.
#[derive(Clone)]
enum Outcome {
    /// No reply in time, or not all of it.
    Late,
    /// No reply, or not all of it.
    Failed(TransportError),
    /// A reply that was not read to its end.
    TooLong { status: u16 },
    /// A reply with a status outside of 200 to 299.
    Refused { status: u16, body: Vec<u8> },
    /// A reply with a status of 200 to 299; its body is not kept, since it holds a token.
    Fine { status: u16 },
}

impl Transport {
    fn last(&self) -> Option<Outcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ended(&self, outcome: Outcome) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn failed(&self, error: reqwest::Error) -> azure_core::Error {
        self.ended(if error.is_timeout() {
            Outcome::Late
        } else {
            Outcome::Failed(TransportError::of(error))
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

        self.their_clock.read(reply.headers());
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
                self.ended(Outcome::TooLong { status });
                return Err(azure_core::Error::with_message(ErrorKind::Other, "the reply is too long"));
            }
        }
        self.ended(match status {
            200..=299 => Outcome::Fine { status },
            _ => Outcome::Refused { status, body: body.clone() },
        });
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
    }
}
