//! The verification of client certificates.
//!
//! A certificate is accepted if a certificate of the client CA file issued it, or if it is itself in that file, as
//! in the exporter-toolkit: Go's `crypto/x509` takes every certificate of its pool for a valid chain of one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version};

use crate::config::web::ClientAuth;

/// Verifies client certificates. The proof that a client holds the key of its certificate is always verified.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    mandatory: bool,
    names_of_authorities: Vec<DistinguishedName>,
    trust: Trust,
    /// `None` accepts every name.
    allowed_names: Option<BTreeSet<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificates that are accepted, whatever their names are.
#[derive(Debug)]
enum Trust {
    Every,
    Listed {
        certificates: Vec<CertificateDer<'static>>,
        /// `None` if no certificate of the file may issue others.
        issuers: Option<Arc<dyn ClientCertVerifier>>,
    },
}

impl Trust {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Self::Listed { certificates, issuers } = self else { return Ok(()) };
        if certificates.contains(certificate) {
            return verify_listed(certificate, now);
        }
        match issuers {
            Some(issuers) if !is_self_signed(certificate) => {
                issuers.verify_client_cert(certificate, intermediates, now).map(drop)
            }
            _ => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

/// Verifies a certificate that is itself in the file as Go does: its dates, its purposes, and that it has no
/// critical extension of an unknown kind.
fn verify_listed(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = parse(certificate)?;
    let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    let now = now.ok_or_else(|| Error::General("the system time is out of range".to_owned()))?;
    let bad = |_| Error::from(CertificateError::BadEncoding);
    let purposes = parsed.extended_key_usage().map_err(bad)?.map(|extension| extension.value);
    let is_unknown = |extension: &ParsedExtension<'_>| {
        matches!(extension, ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. })
    };
    if now < parsed.validity().not_before {
        Err(CertificateError::NotValidYet.into())
    } else if now > parsed.validity().not_after {
        Err(CertificateError::Expired.into())
    } else if purposes.is_some_and(|purposes| !purposes.any && !purposes.client_auth) {
        Err(CertificateError::InvalidPurpose.into())
    } else if parsed.extensions().iter().any(|one| one.critical && is_unknown(one.parsed_extension())) {
        Err(CertificateError::UnhandledCriticalExtension.into())
    } else {
        Ok(())
    }
}

/// Returns whether a certificate may issue others. The client certificate of a file must not issue a
/// certificate with another name.
fn may_issue(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.version() != X509Version::V3 || parsed.is_ca())
}

impl ClientVerifier {
    pub(super) fn new(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let mut names = RootCertStore::empty();
        names.add_parsable_certificates(auth.authorities.iter().cloned());
        let trust = if auth.verified { listed(auth, provider)? } else { Trust::Every };
        Ok(Self {
            mandatory: auth.mandatory,
            names_of_authorities: names.subjects(),
            trust,
            allowed_names: auth.allowed_names.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

fn listed(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Trust, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(auth.authorities.iter().filter(|one| may_issue(one)).cloned());
    let issuers = (!roots.is_empty()).then(|| {
        let built =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        built.map_err(|error| Error::General(error.to_string()))
    });
    Ok(Trust::Listed { certificates: auth.authorities.clone(), issuers: issuers.transpose()? })
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names_of_authorities
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.verify(certificate, intermediates, now)?;
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

/// Returns whether a certificate names itself as its issuer. Its error would be another one if it is an
/// authority, as `openssl req -x509` makes it.
fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(certificate);
    parsed.map(|(_, parsed)| parsed).map_err(|_| CertificateError::BadEncoding.into())
}

/// The subject alternative names of a certificate as text: DNS names, e-mail addresses, IP addresses and
/// URIs.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let bad = |_| Error::from(CertificateError::BadEncoding);
    let parsed = parse(certificate)?;
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
