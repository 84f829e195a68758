//! Parsers of single values: labels, paths, ids, URLs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::reader::ValueReader;
use crate::model::{KbId, MAX_LABEL_BYTES, TextPattern};

pub(super) const GUID_ALLOWED: &str = "a GUID such as 66666666-7777-8888-9999-000000000000 is allowed";

/// Parses the value of a label: visible text that is not cut in the exposition.
pub(super) fn label(text: &str) -> Result<Arc<str>, &'static str> {
    match text {
        text if text.trim().is_empty() => Err("is blank"),
        text if text.contains(char::is_control) => Err("holds a control character"),
        text if text.len() > MAX_LABEL_BYTES => Err("is longer than 256 bytes"),
        text => Ok(text.into()),
    }
}

pub(super) fn kb(text: &str) -> Result<KbId, &'static str> {
    KbId::parse(text).ok_or("is not the number of a KB")
}

/// Parses a text that is compared in any case, such as a pattern or a tag.
pub(super) fn pattern(text: &str) -> Result<TextPattern, &'static str> {
    match text {
        text if text.trim().is_empty() => Err("is blank"),
        text if text.contains(char::is_control) => Err("holds a control character"),
        text => Ok(TextPattern::new(text)),
    }
}

/// Reads a path; a relative path is relative to `folder`. Text of several lines is a problem: it is a secret
/// that was written in place of its path, and must not be stored or displayed.
pub(super) fn path(field: &ValueReader<'_>, folder: &Path) -> Option<PathBuf> {
    field.text(|text| match text {
        text if text.contains('\0') => Err("holds a NUL character"),
        text if text.contains('\n') => Err("is a text of several lines and no path"),
        text => Ok(folder.join(text)),
    })
}

pub(super) fn guid(text: &str) -> Result<String, &'static str> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if lengths.eq([8, 4, 4, 4, 12]) && groups.iter().all(hex) {
        Ok(text.to_owned())
    } else {
        Err("is not a GUID")
    }
}

/// Parses a GUID or a domain of the tenant. Names without a dot (`common`, `organizations`) stand for many
/// tenants and cannot issue a token to an application.
pub(super) fn tenant_id(text: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner)
    };
    let domain = text.contains('.') && text.len() <= 253 && text.split('.').all(label);
    if domain || guid(text).is_ok() { Ok(text.to_owned()) } else { Err("is not a tenant id") }
}

/// Parses an OAuth scope. Entra accepts client credentials for one resource at a time.
pub(super) fn scope(text: &str) -> Result<String, &'static str> {
    let resource = text.strip_suffix("/.default").ok_or("does not end in /.default")?;
    if resource.is_empty() {
        Err("names no resource")
    } else if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        Err("holds white space")
    } else {
        Ok(text.to_owned())
    }
}

pub(super) fn base_url(text: &str, scheme_fits: impl FnOnce(&Url) -> bool) -> Result<Url, &'static str> {
    let url = source_url(text, scheme_fits)?;
    if url.path() == "/" { Ok(url) } else { Err("holds a path") }
}

/// Parses a URL that may have a path, but neither a user nor a query.
pub(super) fn source_url(text: &str, scheme_fits: impl FnOnce(&Url) -> bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if url.host_str().is_none_or(str::is_empty) {
        Err("names no host")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("holds a user")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("holds a query or fragment")
    } else if !scheme_fits(&url) {
        Err("has the wrong scheme")
    } else {
        Ok(url)
    }
}

pub(super) fn is_https_or_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = || host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && loopback()
}

pub(super) fn proxy_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        "http" | "https" => Err("names no host"),
        _ => Err("has a scheme other than http and https"),
    }
}
