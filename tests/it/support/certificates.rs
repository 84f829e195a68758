//! A certificate authority for tests.

use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A certificate authority.
pub(crate) struct CertificateAuthority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub(crate) struct IssuedCertificate {
    /// The certificate, followed by that of the authority.
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CertificateAuthority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate for these DNS names and addresses, for servers and clients.
    pub(crate) fn issue(&self, names: &[&str]) -> IssuedCertificate {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        self.issue_with(CertificateParams::new(names).unwrap())
    }

    /// Issues a certificate with these subject alternative names.
    pub(crate) fn issue_to(&self, names: Vec<SanType>) -> IssuedCertificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        self.issue_with(params)
    }

    pub(crate) fn issue_with(&self, mut params: CertificateParams) -> IssuedCertificate {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        IssuedCertificate { chain: format!("{}{}", certificate.pem(), self.pem()), key: key.serialize_pem() }
    }
}

/// A self-signed RSA certificate of a client, and its key, both PEM.
pub(crate) fn client_certificate() -> (String, String) {
    client_certificate_with(&CertificateParams::default())
}

/// Like [`client_certificate`], valid from `from` days from now to `to` days from now.
pub(crate) fn client_certificate_valid(from: i64, to: i64) -> (String, String) {
    let day = |days: i64| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let date = TimeZone::UTC.to_datetime(time);
        let (month, day) = (date.month().try_into().unwrap(), date.day().try_into().unwrap());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (day(from), day(to));
    client_certificate_with(&params)
}

fn client_certificate_with(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A self-signed certificate of a client, as `openssl req -x509` makes it: an authority without an extended key
/// usage.
pub(crate) fn self_signed_client(change: impl FnOnce(&mut CertificateParams)) -> IssuedCertificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["prometheus.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    IssuedCertificate { chain: certificate.pem(), key: key.serialize_pem() }
}
