//! Managed identities of hosts that the identity library does not know.
//!
//! A host announces its identity endpoint with environment variables. The library knows virtual machines and
//! App Service (with Container Apps and Functions). This module adds Azure Arc, Cloud Shell and Azure Machine
//! Learning, and names what is not supported.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use url::form_urlencoded;

use super::token_error::{SecretError, TokenError};
use super::token_transport::{RawTokenReply, TokenTransport};

/// The folder in which the agent of Azure Arc writes the proof that a caller may read local secrets. A path
/// elsewhere is not read: its content would be sent to whatever answered.
const ARC_TOKENS: &str = "/var/opt/azcmagent/tokens";

/// The instance metadata service of a virtual machine.
const METADATA_SERVICE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// The longest proof.
const LONGEST_PROOF_BYTES: u64 = 4096;

/// A host whose identity the library does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityHost {
    /// <https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication>
    AzureArc {
        endpoint: String,
    },
    CloudShell {
        endpoint: String,
    },
    MachineLearning {
        endpoint: String,
        secret: String,
    },
    /// Its endpoint has a certificate that only its thumbprint identifies.
    ServiceFabric,
}

impl IdentityHost {
    /// The host by the environment of the process; none for the hosts that the library supports.
    pub(super) fn beyond_the_library() -> Option<Self> {
        Self::announced(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn announced(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if let Some(endpoint) = variable("IDENTITY_ENDPOINT") {
            return match (variable("IDENTITY_HEADER"), variable("IMDS_ENDPOINT")) {
                (Some(_), _) => variable("IDENTITY_SERVER_THUMBPRINT").map(|_| Self::ServiceFabric),
                (None, Some(_)) => Some(Self::AzureArc { endpoint }),
                (None, None) => None,
            };
        }
        let endpoint = variable("MSI_ENDPOINT")?;
        Some(match variable("MSI_SECRET") {
            Some(secret) => Self::MachineLearning { endpoint, secret },
            None => Self::CloudShell { endpoint },
        })
    }

    /// Requests a token for `resource`. The transport keeps the outcome of the request.
    ///
    /// # Errors
    /// Returns an error if no request can be made.
    pub(super) async fn request_token(
        &self,
        transport: &TokenTransport,
        resource: &str,
        client_id: Option<&str>,
    ) -> Result<(), TokenError> {
        let client = transport.client();
        let url = |endpoint: &str, version: &str| {
            let mut url = usable(endpoint)?;
            url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
            Ok::<_, TokenError>(url)
        };
        let refuse_user_assigned = |host| match client_id {
            Some(_) => Err(TokenError::UnsupportedIdentity {
                what: host,
                advice: "it has one identity of its own; remove managed_identity.client_id",
            }),
            None => Ok(()),
        };
        match self {
            Self::AzureArc { endpoint } => {
                refuse_user_assigned("a user-assigned identity of Azure Arc")?;
                let url = url(endpoint, "2020-06-01")?;
                let request = || client.get(url.clone()).header("Metadata", "true");
                answer_challenge(transport, request, Path::new(ARC_TOKENS)).await
            }
            Self::CloudShell { endpoint } => {
                refuse_user_assigned("a user-assigned identity of Cloud Shell")?;
                let form = form_urlencoded::Serializer::new(String::new())
                    .append_pair("resource", resource)
                    .finish();
                let request = client.post(usable(endpoint)?).header("Metadata", "true");
                let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
                transport.send(request).await.ok();
                Ok(())
            }
            Self::MachineLearning { endpoint, secret } => {
                let mut url = url(endpoint, "2017-09-01")?;
                if let Some(client_id) = client_id {
                    url.query_pairs_mut().append_pair("clientid", client_id);
                }
                transport.send(client.get(url).header("secret", secret)).await.ok();
                Ok(())
            }
            Self::ServiceFabric => Err(TokenError::UnsupportedIdentity {
                what: "the managed identity of Service Fabric",
                advice: "use client_certificate_file, or workload_identity, in auth instead",
            }),
        }
    }
}

/// The identity endpoint of this host: the one that its environment announces, or that of a virtual machine.
/// None if it is not supported.
pub(super) fn endpoint() -> Option<Url> {
    if IdentityHost::beyond_the_library() == Some(IdentityHost::ServiceFabric) {
        return None;
    }
    let announced =
        ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"].into_iter().find_map(|name| std::env::var(name).ok());
    usable(announced.as_deref().unwrap_or(METADATA_SERVICE)).ok()
}

/// The URL of an identity endpoint.
fn usable(endpoint: &str) -> Result<Url, TokenError> {
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or(TokenError::UnsupportedIdentity {
        what: "an identity endpoint that is no URL",
        advice: "check IDENTITY_ENDPOINT and MSI_ENDPOINT in the environment of the exporter",
    })
}

/// Sends `request`; the agent answers with the path of a file in `folder`, whose content proves in a second request that
/// this process may read it.
async fn answer_challenge(
    transport: &TokenTransport,
    request: impl Fn() -> RequestBuilder,
    folder: &Path,
) -> Result<(), TokenError> {
    let Ok(reply) = transport.send(request()).await else { return Ok(()) };
    let Some(path) = challenge(&reply) else { return Ok(()) };
    let proof = proof(&path, folder).map_err(|source| TokenError::SecretUnreadable {
        what: "proof for the agent of Azure Arc",
        source,
    })?;
    transport.send(request().header(AUTHORIZATION, format!("Basic {proof}"))).await.ok();
    Ok(())
}

/// The path in the challenge `Basic realm=PATH`.
fn challenge(reply: &RawTokenReply) -> Option<PathBuf> {
    if reply.status != 401 {
        return None;
    }
    let challenge = reply.headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (_, path) = challenge.split_once("realm=")?;
    Some(PathBuf::from(path.trim().trim_matches('"')))
}

fn proof(path: &Path, folder: &Path) -> Result<String, SecretError> {
    let is_expected = path.parent() == Some(folder) && path.extension() == Some("key".as_ref());
    if !is_expected {
        return Err(SecretError::Unexpected {
            path: path.to_path_buf(),
            expected: "/var/opt/azcmagent/tokens",
        });
    }
    let too_long = std::fs::metadata(path).is_ok_and(|file| file.len() > LONGEST_PROOF_BYTES);
    if too_long {
        return Err(SecretError::Unexpected { path: path.to_path_buf(), expected: "a short text" });
    }
    super::token_error::read(path)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use axum::http::{HeaderMap, StatusCode};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::Clock;
    use crate::defender::clock_skew::ClockSkew;
    use crate::defender::pause::HostPause;
    use crate::defender::token_transport::TokenReply;

    const TOKEN: &str = r#"{"access_token":"granted","expires_in":"100","expires_on":"7"}"#;

    fn transport() -> TokenTransport {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let skew = ClockSkew::new(Clock::system());
        TokenTransport::new("contoso", client, Clock::system(), skew, HostPause::default())
    }

    fn token(transport: &TokenTransport) -> String {
        let Some(TokenReply::Issued(token)) = transport.last() else { panic!("no token") };
        assert_eq!(token.life.as_secs(), 100);
        token.secret.secret().to_owned()
    }

    /// Serves `router` and returns its URL.
    async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[tokio::test]
    async fn agent_of_azure_arc_gets_the_proof() {
        let folder = tempfile::tempdir().unwrap();
        let mut key = std::fs::File::create(folder.path().join("a.key")).unwrap();
        std::io::Write::write_all(&mut key, b"a proof").unwrap();
        let realm = format!("Basic realm={}/a.key", folder.path().display());
        let router = Router::new().fallback(move |request: Request| async move {
            let headers = request.headers();
            assert_eq!(header(headers, "metadata"), "true");
            let (status, body) = match header(headers, "authorization") {
                "" => (StatusCode::UNAUTHORIZED, ""),
                proof => {
                    assert_eq!(proof, "Basic a proof");
                    (StatusCode::OK, TOKEN)
                }
            };
            (status, [("www-authenticate", realm)], body)
        });
        let mut tasks = JoinSet::new();
        let url = serve(router, &mut tasks).await;
        let transport = transport();
        let request = || transport.client().get(&url).header("Metadata", "true");
        answer_challenge(&transport, request, folder.path()).await.unwrap();
        assert_eq!(token(&transport), "granted");

        let elsewhere = answer_challenge(&transport, request, Path::new(ARC_TOKENS)).await.unwrap_err();
        assert!(matches!(elsewhere, TokenError::SecretUnreadable { .. }), "{elsewhere}");
    }

    #[tokio::test]
    async fn cloud_shell_and_machine_learning_are_asked_in_their_ways() {
        let router = Router::new().fallback(async |request: Request| {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1000).await.unwrap();
            let form: &[u8] = b"resource=https%3A%2F%2Fapi.example";
            let is_shell =
                parts.method == "POST" && header(&parts.headers, "metadata") == "true" && body == form;
            let query = "api-version=2017-09-01&resource=https%3A%2F%2Fapi.example&clientid=me";
            let is_learning =
                parts.uri.query() == Some(query) && header(&parts.headers, "secret") == "s3cret";
            if is_shell || is_learning { (StatusCode::OK, TOKEN) } else { (StatusCode::BAD_REQUEST, "") }
        });
        let mut tasks = JoinSet::new();
        let endpoint = serve(router, &mut tasks).await;
        let shell = IdentityHost::CloudShell { endpoint: endpoint.clone() };
        let learning = IdentityHost::MachineLearning { endpoint, secret: "s3cret".to_owned() };
        for (host, client_id) in [(&shell, None), (&learning, Some("me"))] {
            let transport = transport();
            host.request_token(&transport, "https://api.example", client_id).await.unwrap();
            assert_eq!(token(&transport), "granted", "{host:?}");
        }
        for (host, client_id) in [(&shell, Some("me")), (&IdentityHost::ServiceFabric, None)] {
            let error = host.request_token(&transport(), "https://api.example", client_id).await.unwrap_err();
            assert!(matches!(error, TokenError::UnsupportedIdentity { .. }), "{error}");
        }
    }

    fn announced(variables: &[&str]) -> Option<IdentityHost> {
        IdentityHost::announced(|name| variables.contains(&name).then(|| name.to_lowercase()))
    }

    #[test]
    fn host_is_recognised_by_its_variables() {
        let arc = IdentityHost::AzureArc { endpoint: "identity_endpoint".to_owned() };
        assert_eq!(announced(&["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"]), Some(arc));
        assert_eq!(announced(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]), None);
        assert_eq!(announced(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"]), None);
        let fabric = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT"];
        assert_eq!(announced(&fabric), Some(IdentityHost::ServiceFabric));
        let shell = IdentityHost::CloudShell { endpoint: "msi_endpoint".to_owned() };
        assert_eq!(announced(&["MSI_ENDPOINT"]), Some(shell));
        assert!(matches!(
            announced(&["MSI_ENDPOINT", "MSI_SECRET"]),
            Some(IdentityHost::MachineLearning { .. })
        ));
        assert_eq!(announced(&["IDENTITY_ENDPOINT"]), None);
        assert_eq!(announced(&[]), None);
    }

    #[test]
    fn proof_is_read_from_the_folder_of_the_agent_only() {
        for path in
            ["/etc/shadow", "/var/opt/azcmagent/tokens/../../x.key", "/var/opt/azcmagent/tokens/x.txt", ""]
        {
            let error = proof(Path::new(path), Path::new(ARC_TOKENS)).unwrap_err();
            assert!(matches!(error, SecretError::Unexpected { .. }), "{path}: {error}");
        }
    }
}
