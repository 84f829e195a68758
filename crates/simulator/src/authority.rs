//! The simulated Entra authority, and the managed identity endpoints of a host.
//!
//! Issues tokens to one application in one tenant, for the scopes of Defender, and rejects requests with
//! Entra's codes and texts. The API accepts a token that was issued here, has not expired, and was not
//! revoked.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::assertion::RegisteredCertificate;
use super::calls::TokenRequest;
use super::oauth_error::OAuthError;
use super::options::Options;
use super::random::guid;
use super::replies::json_reply;
use super::secrets::{CLIENT_ID, CLIENT_SECRET, IDENTITY_HEADER, TENANT_ID};

/// Resources whose tokens carry Defender's roles. The cloud determines which one a client uses.
const DEFENDER_RESOURCES: [&str; 4] = [
    "https://api.securitycenter.microsoft.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://api-gcc.securitycenter.microsoft.us",
    "https://api-gov.securitycenter.microsoft.us",
];

/// Resources of another application: their tokens carry none of Defender's roles.
const OTHER_RESOURCES: [&str; 1] = ["https://api.security.microsoft.com"];

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The registered credentials and the issued tokens.
pub(super) struct Authority {
    base_url: String,
    /// None after the secret has expired.
    pub(super) secret: Option<String>,
    pub(super) federated_token: Option<String>,
    pub(super) roles: Vec<String>,
    certificate: Option<RegisteredCertificate>,
    lifetime: Duration,
    key: EncodingKey,
    issued: HashMap<String, IssuedToken>,
    count: u64,
}

struct IssuedToken {
    until: Instant,
    roles: Vec<String>,
}

impl Authority {
    pub(super) fn new(base_url: &str, options: &Options) -> Self {
        Self {
            base_url: base_url.to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            federated_token: None,
            roles: options.roles.clone(),
            certificate: None,
            lifetime: options.token_lifetime,
            key: EncodingKey::from_secret(b"known to nobody but the simulator"),
            issued: HashMap::new(),
            count: 0,
        }
    }

    pub(super) fn register_certificate(&mut self, pem: &str) -> Option<()> {
        self.certificate = Some(RegisteredCertificate::from_pem(pem)?);
        Some(())
    }

    pub(super) fn revoke_tokens(&mut self) {
        self.issued.clear();
    }

    /// The roles of a token, if it is valid at `now`.
    pub(super) fn roles_of(&self, token: &str, now: Instant) -> Option<&[String]> {
        let issued = self.issued.get(token)?;
        (now < issued.until).then_some(issued.roles.as_slice())
    }

    /// Answers `POST /{tenant}/oauth2/v2.0/token`.
    pub(super) fn token(&mut self, request: &TokenRequest, now: Timestamp) -> Response<Body> {
        self.count += 1;
        match self.grant(request, now) {
            Ok(resource) => {
                let access_token = self.issue(&resource, now);
                let body = json!({
                    "token_type": "Bearer",
                    "expires_in": self.lifetime.as_secs(),
                    "ext_expires_in": self.lifetime.as_secs(),
                    "access_token": access_token,
                });
                json_reply(StatusCode::OK, &body)
            }
            Err(error) => error.response(now, self.count),
        }
    }

    fn grant(&mut self, request: &TokenRequest, now: Timestamp) -> Result<String, OAuthError> {
        let tenant = request.tenant().unwrap_or_default();
        if tenant != TENANT_ID {
            let text = format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing \
                 into the correct cloud. Check with your subscription administrator, this may happen if there \
                 are no active subscriptions for the tenant."
            );
            return Err(OAuthError::request("invalid_request", 90_002, text));
        }
        match required(request, "grant_type")? {
            "client_credentials" => {}
            other => {
                let text = format!("The app requested an unsupported grant type '{other}'.");
                return Err(OAuthError::request("unsupported_grant_type", 70_003, text));
            }
        }
        let client = required(request, "client_id")?;
        if client != CLIENT_ID {
            let text = format!(
                "Application with identifier '{client}' was not found in the directory 'Simulated Contoso'. This \
                 can happen if the application has not been installed by the administrator of the tenant or \
                 consented to by any user in the tenant. You may have sent your authentication request to the \
                 wrong tenant."
            );
            return Err(OAuthError::request("unauthorized_client", 700_016, text));
        }
        let resource = resource_of_scope(required(request, "scope")?)?;
        match (request.field("client_secret"), request.field("client_assertion")) {
            (Some(secret), None) => self.check_secret(secret)?,
            (None, Some(assertion)) => self.check_assertion(request, assertion, now)?,
            _ => {
                let text = "The request body must contain the following parameter: 'client_assertion' or \
                            'client_secret'.";
                return Err(OAuthError::client(7_000_218, text));
            }
        }
        Ok(resource)
    }

    fn check_secret(&self, secret: &str) -> Result<(), OAuthError> {
        match &self.secret {
            None => Err(OAuthError::client(
                7_000_222,
                format!(
                    "The provided client secret keys for app '{CLIENT_ID}' are expired. Visit the Azure portal \
                     to create new keys for your app: https://aka.ms/NewClientSecret, or consider using \
                     certificate credentials for added security: https://aka.ms/certCreds."
                ),
            )),
            Some(current) if current == secret => Ok(()),
            Some(_) => Err(OAuthError::client(
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client \
                     secret value, not the client secret ID, for a secret added to app '{CLIENT_ID}'."
                ),
            )),
        }
    }

    fn check_assertion(
        &mut self,
        request: &TokenRequest,
        assertion: &str,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        if request.field("client_assertion_type") != Some(ASSERTION_TYPE) {
            let text = "The request body must contain the following parameter: 'client_assertion_type'.";
            return Err(OAuthError::request("invalid_request", 900_144, text));
        }
        if self.federated_token.as_deref() == Some(assertion) {
            return Ok(());
        }
        let audience = format!("{}/{TENANT_ID}/oauth2/v2.0/token", self.base_url);
        let Some(certificate) = &mut self.certificate else {
            let text = format!("The client '{CLIENT_ID}' has no configured federated identity credentials.");
            return Err(OAuthError::client(70_025, text));
        };
        certificate.check(assertion, CLIENT_ID, &audience, now)
    }

    /// Issues a token with the form of a JWT and the claims that a client may read.
    fn issue(&mut self, resource: &str, now: Timestamp) -> String {
        let roles = if DEFENDER_RESOURCES.contains(&resource) { self.roles.clone() } else { Vec::new() };
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = json!({
            "aud": resource,
            "iss": format!("https://sts.windows.net/{TENANT_ID}/"),
            "iat": now.as_second(),
            "nbf": now.as_second(),
            "exp": now.as_second().saturating_add(lifetime),
            "appid": CLIENT_ID,
            "idtyp": "app",
            "tid": TENANT_ID,
            "uti": guid(self.count, 3),
        });
        // Without admin consent the claim is absent.
        if !roles.is_empty() {
            claims["roles"] = json!(roles);
        }
        let token = encode(&Header::default(), &claims, &self.key).unwrap_or_default();
        let now = Instant::now();
        self.issued.retain(|_, issued| now < issued.until);
        self.issued.insert(token.clone(), IssuedToken { until: now + self.lifetime, roles });
        token
    }

    /// Answers a host's managed identity endpoint: `/msi/token` (App Service) or `/metadata/identity/...`
    /// (VM).
    pub(super) fn managed_identity(
        &mut self,
        request: &TokenRequest,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Response<Body> {
        self.count += 1;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let refuse = |status, error: &str, description: &str| {
            json_reply(status, &json!({"error": error, "error_description": description}))
        };
        if request.path == "/msi/token" {
            if header("x-identity-header") != Some(IDENTITY_HEADER) {
                return refuse(StatusCode::UNAUTHORIZED, "invalid_request", "Wrong identity header");
            }
        } else if header("metadata") != Some("true") {
            return refuse(
                StatusCode::BAD_REQUEST,
                "bad_request_102",
                "Required metadata header not specified",
            );
        }
        if request.field("client_id").is_some_and(|client| client != CLIENT_ID) {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", "Identity not found");
        }
        let resource = request.field("resource").unwrap_or_default().trim_end_matches('/').to_owned();
        if !is_registered(&resource) {
            let text = format!("AADSTS500011: The resource principal named {resource} was not found.");
            return refuse(StatusCode::BAD_REQUEST, "invalid_resource", &text);
        }
        json_reply(StatusCode::OK, &self.identity_token(&resource, now))
    }

    /// The body of a managed identity's answer. Its numbers are strings.
    fn identity_token(&mut self, resource: &str, now: Timestamp) -> Value {
        let access_token = self.issue(resource, now);
        let lifetime = SignedDuration::try_from(self.lifetime).unwrap_or(SignedDuration::MAX);
        let expires = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
        json!({
            "access_token": access_token,
            "client_id": CLIENT_ID,
            "expires_in": self.lifetime.as_secs().to_string(),
            "expires_on": expires.as_second().to_string(),
            "not_before": now.as_second().to_string(),
            "resource": resource,
            "token_type": "Bearer",
        })
    }
}

fn required<'request>(request: &'request TokenRequest, name: &str) -> Result<&'request str, OAuthError> {
    request.field(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let text = format!("The request body must contain the following parameter: '{name}'.");
        OAuthError::request("invalid_request", 900_144, text)
    })
}

fn resource_of_scope(scope: &str) -> Result<String, OAuthError> {
    let Some(resource) = scope.strip_suffix("/.default").filter(|resource| !resource.contains(' ')) else {
        let text = format!(
            "The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
        );
        return Err(OAuthError::request("invalid_scope", 70_011, text));
    };
    if is_registered(resource) {
        return Ok(resource.to_owned());
    }
    let text = format!(
        "The resource principal named {resource} was not found in the tenant named Simulated Contoso. This can \
         happen if the application has not been installed by the administrator of the tenant or consented to by \
         any user in the tenant. You might have sent your authentication request to the wrong tenant."
    );
    Err(OAuthError::request("invalid_resource", 500_011, text))
}

fn is_registered(resource: &str) -> bool {
    DEFENDER_RESOURCES.contains(&resource) || OTHER_RESOURCES.contains(&resource)
}
