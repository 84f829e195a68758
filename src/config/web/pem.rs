//! Certificates and keys: files or text of the section `tls_server_config`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::load::read_at_most;
use crate::config::reader::{MapReader, ValueReader};
use crate::config::values::path;
use crate::file_kind::unexpected_kind;
use crate::text::without_byte_order_mark;

/// Size limit of a file, several times the size of all authorities that a system trusts.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The server's certificate and its key.
pub(super) struct ServingCertificate {
    pub(super) certificate: Arc<CertifiedKey>,
    pub(super) expires: Timestamp,
}

/// Reads `cert_file` or `cert`, and `key_file` or `key`.
pub(super) fn identity(
    section: &MapReader<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Option<ServingCertificate> {
    let content = "the server's certificate and its issuers";
    let chain = Pem::required(section, ["cert_file", "cert"], content, folder, files);
    let key = Pem::required(section, ["key_file", "key"], "the certificate's private key", folder, files);
    let certificates = chain.as_ref().and_then(Pem::certificates);
    let expires = chain.as_ref().zip(certificates.as_ref()).and_then(|(pem, chain)| pem.expires(&chain[0]));
    let signing = key.as_ref().and_then(Pem::private_key);
    let (expires, certificate) = (expires?, CertifiedKey::new(certificates?, signing?));
    match certificate.keys_match() {
        // Unknown is the result for keys without access to their public half; every key here has it.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Some(ServingCertificate { certificate: Arc::new(certificate), expires })
        }
        Err(Error::InconsistentKeys(_)) => {
            key?.field.problem("does not belong to the server's certificate");
            None
        }
        Err(_) => {
            chain?.field.problem(UNUSABLE);
            None
        }
    }
}

const UNUSABLE: &str = "holds a certificate that cannot be used";

/// Reads `client_ca_file` or `client_ca`. The outer `None` is a problem.
#[expect(clippy::option_option, reason = "no authority is an answer, and so is a wrong one")]
pub(super) fn authorities(
    section: &MapReader<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Option<Option<Vec<CertificateDer<'static>>>> {
    let keys = ["client_ca_file", "client_ca"];
    let Some(pem) = Pem::read(section, keys, "the certificates of authorities", folder, files)? else {
        return Some(None);
    };
    let certificates = pem.certificates()?;
    let mut store = RootCertStore::empty();
    if certificates.iter().any(|certificate| store.add(certificate.clone()).is_err()) {
        pem.field.problem(UNUSABLE);
        return None;
    }
    Some(Some(certificates))
}

/// PEM text and the reader of its configuration key.
struct Pem<'a> {
    field: ValueReader<'a>,
    bytes: Vec<u8>,
}

impl<'a> Pem<'a> {
    /// Reads the file named by the first of `keys`, or the text of the second. The outer `None` is a problem.
    #[expect(clippy::option_option, reason = "none given is an answer, and so is a wrong one")]
    fn read(
        section: &MapReader<'a>,
        keys: [&'static str; 2],
        content: &str,
        folder: &Path,
        files: &mut Vec<PathBuf>,
    ) -> Option<Option<Self>> {
        let file = section.optional(keys[0], &format!("the path of a PEM file with {content} is allowed"));
        let text = section.optional(keys[1], &format!("PEM text with {content} is allowed"));
        match (file, text) {
            (None, None) => Some(None),
            (Some(_), Some(text)) => {
                text.problem(format!("is set together with {}", keys[0]));
                None
            }
            (None, Some(field)) => {
                let bytes = field.text(|text| Ok(text.as_bytes().to_vec()))?;
                Some(Some(Self { field, bytes }))
            }
            (Some(field), None) => {
                let path = path(&field, folder)?;
                files.push(path.clone());
                let read = read_at_most(&path, FILE_LIMIT);
                let bytes = read.map_err(|error| field.problem(format!("cannot be read: {error}"))).ok()?;
                let bytes = without_byte_order_mark(&bytes).to_vec();
                Some(Some(Self { field, bytes }))
            }
        }
    }

    /// Like [`read`](Self::read), but reports a problem if neither key is given.
    fn required(
        section: &MapReader<'a>,
        keys: [&'static str; 2],
        content: &str,
        folder: &Path,
        files: &mut Vec<PathBuf>,
    ) -> Option<Self> {
        let pem = Self::read(section, keys, content, folder, files)?;
        if pem.is_none() {
            let allowed = format!("{} or {} is needed for TLS", keys[0], keys[1]);
            section.problem_of(keys[0], "is missing", allowed);
        }
        pem
    }

    /// Returns all certificates; at least one.
    fn certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match certificates {
            Err(_) => self.unexpected("is not valid PEM"),
            Ok(certificates) if certificates.is_empty() => {
                self.unexpected("holds no certificate in PEM form");
            }
            Ok(certificates) => return Some(certificates),
        }
        None
    }

    /// Reports that the content is of another kind than PEM, or else `problem`.
    fn unexpected(&self, problem: &str) {
        self.field.problem(unexpected_kind(&self.bytes).unwrap_or(problem));
    }

    /// Returns the time at which `certificate` expires.
    fn expires(&self, certificate: &CertificateDer<'_>) -> Option<Timestamp> {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            self.field.problem(UNUSABLE);
            return None;
        };
        let seconds = parsed.validity().not_after.timestamp();
        // RFC 5280, 4.1.2.5: the last second of 9999, which jiff cannot represent, stands for never.
        Some(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
    }

    fn private_key(&self) -> Option<Arc<dyn SigningKey>> {
        let holds = |marker: &[u8]| self.bytes.windows(marker.len()).any(|part| part == marker);
        if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
            self.field.problem("holds a private key that is encrypted");
            return None;
        }
        let Ok(key) = PrivateKeyDer::from_pem_slice(&self.bytes) else {
            self.unexpected("holds no private key in PEM form");
            return None;
        };
        let what = "holds a private key that is none of RSA with 2048 bits or more, ECDSA (P-256, P-384, P-521) \
                    and Ed25519";
        any_supported_type(&key).map_err(|_| self.field.problem(what)).ok()
    }
}
