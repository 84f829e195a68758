//! The section `tls_server_config`.
//!
//! Names of versions, ciphers, curves and client authentication types are those of Go's `crypto/tls`, which
//! define the format. They are converted to values of rustls, so an unknown name is a problem here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite as suite, kx_group};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::pem::{self, ServingCertificate};
use crate::config::reader::{MapReader, ValueReader};

/// TLS settings of the web server.
#[derive(Clone)]
pub struct Tls {
    /// The server's certificate with its issuers, and the key that belongs to it.
    pub certificate: Arc<CertifiedKey>,
    /// The time at which the server's certificate expires; its issuers are not considered.
    pub expires: Timestamp,
    /// Protocol versions; at least one.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Cipher suites: always all of TLS 1.3, as in Go; the file selects among those of TLS 1.2.
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// Groups for the key exchange, at least one for each version. The client's preference decides.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Client authentication; none if no certificate is requested.
    pub client_auth: Option<ClientAuth>,
}

/// Requirements on client certificates.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// True if a client without a certificate is rejected.
    pub mandatory: bool,
    /// True if the certificate must be one of `authorities` or issued by one.
    pub verified: bool,
    /// Certificates of authorities and of single clients. Their names are sent to clients so that they can
    /// select a certificate. Not empty if `verified`.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Subject alternative names of which a certificate must have one; none to accept any certificate.
    pub allowed_names: Option<BTreeSet<String>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suites: Vec<_> = self.cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
        f.debug_struct("Tls")
            .field("expires", &self.expires)
            .field("versions", &self.versions)
            .field("cipher_suites", &suites)
            .field("groups", &self.groups)
            .field("client_auth", &self.client_auth)
            .finish_non_exhaustive()
    }
}

/// Go's names of the cipher suites that rustls supports.
const CIPHER_SUITES: [(&str, SupportedCipherSuite); 9] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// Go's names of the groups that rustls supports. P-521 is not among them.
const CURVES: [(&str, &dyn SupportedKxGroup); 4] = [
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
    ("X25519", kx_group::X25519),
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
];

/// Client authentication types: none if no certificate is requested, else whether it is mandatory and
/// verified. `RequireClientCert` is an older name in the format.
const CLIENT_AUTH_TYPES: [(&str, Option<(bool, bool)>); 6] = [
    ("NoClientCert", None),
    ("RequestClientCert", Some((false, false))),
    ("RequireAnyClientCert", Some((true, false))),
    ("VerifyClientCertIfGiven", Some((false, true))),
    ("RequireAndVerifyClientCert", Some((true, true))),
    ("RequireClientCert", Some((true, false))),
];

/// Reads the section. Without keys it means plain HTTP. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no TLS is an answer, and so is a wrong one")]
pub(super) fn read(field: &ValueReader<'_>, folder: &Path, files: &mut Vec<PathBuf>) -> Option<Option<Tls>> {
    let section = field.section()?;
    if section.is_empty() {
        return Some(None);
    }
    let identity = pem::identity(&section, folder, files);
    let client_auth = client_auth(&section, folder, files);
    let versions = versions(&section);
    let cipher_suites = cipher_suites(&section, versions.as_deref());
    let groups = groups(&section, versions.as_deref());
    // Go has ignored this key since 1.17 and decides itself, as rustls does.
    let preference = section.optional_or(
        "prefer_server_cipher_suites",
        "true or false is allowed",
        true,
        ValueReader::boolean,
    );
    section.finish();
    let (ServingCertificate { certificate, expires }, _) = (identity?, preference?);
    Some(Some(Tls {
        certificate,
        expires,
        versions: versions?,
        cipher_suites: cipher_suites?,
        groups: groups?,
        client_auth: client_auth?,
    }))
}

/// Returns the versions from `min_version` to `max_version`.
fn versions(section: &MapReader<'_>) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let version = |key, default| {
        section.optional_or(key, "TLS12 or TLS13 is allowed", default, |field| {
            field.text(|text| match text {
                "TLS12" => Ok(&TLS12),
                "TLS13" => Ok(&TLS13),
                "TLS10" | "TLS11" => Err("is a version that is not secure and not supported"),
                _ => Err("is not a known version"),
            })
        })
    };
    let (lowest, highest) = (version("min_version", &TLS12), version("max_version", &TLS13));
    let (lowest, highest) = (lowest?, highest?);
    if lowest == &TLS13 && highest == &TLS12 {
        section.problem_of("min_version", "is above max_version", "max_version or an older one is allowed");
        return None;
    }
    Some([&TLS12, &TLS13].into_iter().filter(|&version| version == lowest || version == highest).collect())
}

fn cipher_suites(
    section: &MapReader<'_>,
    versions: Option<&[&SupportedProtocolVersion]>,
) -> Option<Vec<SupportedCipherSuite>> {
    let key = "cipher_suites";
    let chosen = named(section, key, "a cipher suite that is supported", &CIPHER_SUITES)?;
    let of_tls12 = |suite: &SupportedCipherSuite| suite.version() == &TLS12;
    if chosen.iter().any(|suite| !of_tls12(suite)) {
        let advice = "they cannot be chosen, as in every program with this file";
        section.warning(key, "names suites of TLS 1.3, which are always enabled", advice);
    }
    if versions == Some(&[&TLS12]) && !chosen.is_empty() && !chosen.iter().any(of_tls12) {
        let allowed = "at least one suite of the highest version is allowed";
        section.problem_of(key, "names no suite of TLS 1.2, so no client could connect", allowed);
        return None;
    }
    let is_on =
        |suite: &SupportedCipherSuite| !of_tls12(suite) || chosen.is_empty() || chosen.contains(suite);
    Some(ALL_CIPHER_SUITES.iter().copied().filter(is_on).collect())
}

fn groups(
    section: &MapReader<'_>,
    versions: Option<&[&SupportedProtocolVersion]>,
) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    let key = "curve_preferences";
    let mut groups = named(section, key, "a curve that is supported", &CURVES)?;
    if groups.is_empty() {
        groups = tokio_rustls::rustls::crypto::aws_lc_rs::DEFAULT_KX_GROUPS.to_vec();
    }
    let fits = |version: &SupportedProtocolVersion| {
        groups.iter().any(|group| group.usable_for_version(version.version))
    };
    if versions.is_some_and(|versions| !versions.iter().all(|version| fits(version))) {
        section.problem_of(key, "names no curve of TLS 1.2", "a curve for each version is allowed");
        return None;
    }
    Some(groups)
}

/// Returns the values of the names in the list `key`; empty if the key is not given.
fn named<T: Copy>(
    section: &MapReader<'_>,
    key: &'static str,
    what: &str,
    known: &[(&str, T)],
) -> Option<Vec<T>> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let allowed = format!("{what} is allowed: {}", names.join(", "));
    let read = |field: &ValueReader<'_>| {
        field.text(|text| {
            let found = known.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value).ok_or("is not supported")
        })
    };
    section.optional_or(key, "a list is allowed", Vec::new(), |field| {
        // Collected first, so that the problems of every item are reported.
        let values: Vec<_> = field.list(&allowed)?.iter().map(read).collect();
        values.into_iter().collect()
    })
}

/// Reads the client authentication. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no client certificate is an answer, and so is a wrong one")]
fn client_auth(
    section: &MapReader<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Option<Option<ClientAuth>> {
    let key = "client_auth_type";
    let names = CLIENT_AUTH_TYPES[..5].iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let kind = section.optional_or(key, &format!("one of {names} is allowed"), None, |field| {
        field.text(|text| {
            let found = CLIENT_AUTH_TYPES.iter().find(|(name, _)| *name == text);
            found.map(|(_, kind)| *kind).ok_or("is not a known type")
        })
    });
    let authorities = pem::authorities(section, folder, files);
    let allowed_names =
        section.optional_or("client_allowed_sans", "a list of at least one name is allowed", None, |field| {
            allowed_names(field).map(Some)
        });
    let (kind, authorities, allowed_names) = (kind?, authorities?, allowed_names?);
    if allowed_names.is_some() && !matches!(kind, Some((true, _))) {
        let allowed =
            "RequireAndVerifyClientCert is allowed with client_allowed_sans, or RequireAnyClientCert";
        section.problem_of(key, "accepts clients without a certificate", allowed);
        return None;
    }
    let Some((mandatory, verified)) = kind else {
        if authorities.is_some() {
            let allowed = "a type that requests certificates, such as RequireAndVerifyClientCert, is allowed with \
                           client_ca_file";
            section.problem_of(key, "does not request client certificates", allowed);
            return None;
        }
        return Some(None);
    };
    if verified && authorities.is_none() {
        let what = "is missing, so that nothing could be verified";
        let allowed = "client_ca_file or client_ca is needed with this client_auth_type";
        section.problem_of("client_ca_file", what, allowed);
        return None;
    }
    if !verified {
        let what = "accepts any client certificate, including self-signed ones";
        section.warning(key, what, "RequireAndVerifyClientCert is advised");
    }
    let authorities = authorities.unwrap_or_default();
    Some(Some(ClientAuth { mandatory, verified, authorities, allowed_names }))
}

fn allowed_names(field: &ValueReader<'_>) -> Option<BTreeSet<String>> {
    let allowed = "a DNS name, an IP address, an e-mail address or a URI is allowed";
    let names: Vec<_> =
        field.list(allowed)?.iter().map(|item| item.text(|text| Ok(text.to_owned()))).collect();
    if names.is_empty() {
        field.problem("is empty, so no client could connect");
        return None;
    }
    names.into_iter().collect()
}
