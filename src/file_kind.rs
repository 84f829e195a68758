//! The kinds of files that are mistaken for text or for PEM.

/// Returns what `content` is, and how it becomes what is expected, if it is not the PEM text or the secret that
/// a configuration key names. The text continues a sentence that begins with the file.
#[must_use]
pub fn unexpected_kind(content: &[u8]) -> Option<&'static str> {
    if let Some(kind) = UTF_16.iter().find(|mark| content.starts_with(mark)).map(|_| UTF_16_TEXT) {
        return Some(kind);
    }
    match content {
        [0xfe, 0xed, 0xfe, 0xed, ..] => return Some("is a Java keystore; export it as PEM"),
        // Half of the bytes of ASCII text in UTF-16 are zero.
        [0, 1..=255, 0, ..] | [1..=255, 0, 1..=255, ..] => return Some(UTF_16_TEXT),
        _ => {}
    }
    if let Some(inner) = sequence(content) {
        return Some(match inner {
            [0x02, 0x01, 0x03, ..] => {
                "is a PFX file (PKCS#12); convert it with `openssl pkcs12 -nodes -in FILE -out client.pem`"
            }
            [0x02, 0x01, ..] => "is a private key in DER form; convert it with `openssl pkey -inform DER`",
            [0x06, 0x09, ..] => {
                "is a PKCS#7 file in DER form; convert it with `openssl pkcs7 -inform DER -print_certs`"
            }
            _ => "is in DER form; convert a certificate with `openssl x509 -inform DER`",
        });
    }
    OTHER_PEM.iter().find(|(marker, _)| contains(content, marker.as_bytes())).map(|(_, kind)| *kind)
}

const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
const UTF_16_TEXT: &str = "is UTF-16 text; save it as UTF-8";

/// PEM blocks that are not used, the most telling ones first.
const OTHER_PEM: [(&str, &str); 6] = [
    (
        "-----BEGIN TRUSTED CERTIFICATE-----",
        "holds a TRUSTED CERTIFICATE of OpenSSL; convert it with `openssl x509 -in FILE -out NEW`",
    ),
    (
        "-----BEGIN X509 CERTIFICATE-----",
        "holds an X509 CERTIFICATE, an old name; convert it with `openssl x509 -in FILE -out NEW`",
    ),
    ("-----BEGIN PKCS7-----", "holds PKCS7; convert it with `openssl pkcs7 -print_certs -in FILE -out NEW`"),
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "holds a key of OpenSSH; convert it with `ssh-keygen -p -m PKCS8 -f FILE`",
    ),
    ("CERTIFICATE REQUEST-----", "holds a certificate request; the certificate that answers it is needed"),
    ("PuTTY-User-Key-File", "holds a key of PuTTY; export it as PEM"),
];

/// The content of a DER sequence that begins with `content`.
fn sequence(content: &[u8]) -> Option<&[u8]> {
    match content.strip_prefix(&[0x30])? {
        // A length above 127 bytes, or the indefinite length of some PFX files: no text of UTF-8.
        [0x80, inner @ ..]
        | [0x81, _, inner @ ..]
        | [0x82, _, _, inner @ ..]
        | [0x83, _, _, _, inner @ ..] => Some(inner),
        _ => None,
    }
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_kind(content: &[u8], expected: &str) {
        let kind = unexpected_kind(content).unwrap_or("is expected");
        assert!(kind.contains(expected), "{kind}");
    }

    #[test]
    fn file_of_another_kind_is_named() {
        let utf_16: Vec<u8> = "secret".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_kind(&utf_16, "UTF-16");
        assert_kind(&[b"\xff\xfe", &utf_16[..]].concat(), "UTF-16");
        let big_endian: Vec<u8> = "secret".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_kind(&big_endian, "UTF-16");
        assert_kind(b"\xfe\xff\0s", "UTF-16");
        assert_kind(b"\x30\x82\x0a\x00\x02\x01\x03\x30", "PFX");
        assert_kind(b"\x30\x80\x02\x01\x03\x30", "PFX");
        assert_kind(b"\x30\x82\x04\xa4\x02\x01\x00\x02\x82", "private key in DER");
        assert_kind(b"\x30\x82\x0a\x00\x06\x09\x2a", "PKCS#7");
        assert_kind(b"\x30\x82\x03\x00\x30\x82\x02", "in DER form");
        assert_kind(b"\xfe\xed\xfe\xed\0\0\0\x02", "Java");
        assert_kind(b"Bag \xe4\n-----BEGIN TRUSTED CERTIFICATE-----\nAA", "TRUSTED CERTIFICATE");
        assert_kind(b"-----BEGIN NEW CERTIFICATE REQUEST-----\nAA", "request");
    }

    #[test]
    fn certificate_of_a_generator_is_recognised() {
        let identity = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap();
        assert_kind(identity.cert.der(), "convert a certificate");
        assert_kind(&identity.signing_key.serialize_der(), "private key in DER");
        assert_kind(identity.cert.pem().as_bytes(), "is expected");
        assert_kind(identity.signing_key.serialize_pem().as_bytes(), "is expected");
    }

    #[test]
    fn secrets_and_broken_pem_are_expected() {
        for text in ["", "0", "0~x", "s3cret", "-----BEGIN CERTIFICATE-----\nAA\n", "M\u{fc}nchen", "eyJ.a.b"]
        {
            assert_kind(text.as_bytes(), "is expected");
        }
    }
}
