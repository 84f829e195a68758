//! The rustls configuration for the TLS section of the web configuration.
//!
//! Each [`ServerConfig`] is built from one version of the files and has its own session storage: a client
//! cannot resume a session that was established under other rules.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::web::{ClientAuth, Tls};

/// The ALPN name of HTTP/2 (RFC 7301).
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Builds the rustls configuration.
///
/// # Errors
/// Returns an error if rustls rejects the settings, which the loading of the configuration prevents.
pub(super) fn server_config(tls: &Tls, http2: bool) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: tls.cipher_suites.clone(),
        kx_groups: tls.groups.clone(),
        ..aws_lc_rs::default_provider()
    });
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&tls.versions)?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(auth, &provider)?)),
    };
    let certificate = SingleCertAndKey::from(Arc::clone(&tls.certificate));
    let mut config = builder.with_cert_resolver(Arc::new(certificate));
    let protocols = if http2 { &[HTTP2, HTTP1][..] } else { &[HTTP1] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Verifies client certificates. The proof that a client holds the key of its certificate is always verified.
#[derive(Debug)]
struct ClientVerifier {
    mandatory: bool,
    authorities: Vec<DistinguishedName>,
    /// `None` accepts the certificates of every issuer.
    issuers: Option<Arc<dyn ClientCertVerifier>>,
    /// `None` accepts every name.
    allowed_names: Option<BTreeSet<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    fn new(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let issuers = || {
            let (authorities, provider) = (Arc::clone(&auth.authorities), Arc::clone(provider));
            let built = WebPkiClientVerifier::builder_with_provider(authorities, provider).build();
            built.map_err(|error| Error::General(error.to_string()))
        };
        Ok(Self {
            mandatory: auth.mandatory,
            authorities: auth.authorities.subjects(),
            issuers: auth.verified.then(issuers).transpose()?,
            allowed_names: auth.allowed_names.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(issuers) = &self.issuers {
            issuers.verify_client_cert(certificate, intermediates, now)?;
        }
        if let Some(allowed) = &self.allowed_names
            && !names(certificate)?.iter().any(|name| allowed.contains(name))
        {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The subject alternative names of a certificate as text: DNS names, e-mail addresses, IP addresses and
/// URIs.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let bad = |_| Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let Some(extension) = parsed.subject_alternative_name().map_err(bad)? else { return Ok(Vec::new()) };
    Ok(extension.value.general_names.iter().filter_map(text).collect())
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match *name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some(text.to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = || <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            let v6 =
                || <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_canonical().to_string());
            v4().or_else(|_| v6()).ok()
        }
        _ => None,
    }
}
