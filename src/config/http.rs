//! The section `http` of a tenant and of `facts`: connection settings.

use std::path::Path;
use std::time::Duration;

use super::reader::ValueReader;
use super::values::proxy_url;
use super::{Http, auth};

pub(super) fn read(field: &ValueReader<'_>, folder: &Path) -> Option<Http> {
    let section = field.section()?;
    let timeout = section.optional_or(
        "timeout",
        "a duration above 0s, up to 1h, such as 60s, is allowed",
        Http::default().timeout,
        |field| field.duration(Duration::from_nanos(1)..=Duration::from_hours(1)),
    );
    let ca_file = section.optional_or("ca_file", "the path of a PEM file is allowed", None, |field| {
        auth::file(field, folder).map(Some)
    });
    let proxy_url = section.optional_or(
        "proxy_url",
        "a URL such as http://proxy.example:3128 is allowed",
        None,
        |field| field.text(proxy_url).map(Some),
    );
    section.finish();
    Some(Http { timeout: timeout?, ca_file: ca_file?, proxy_url: proxy_url? })
}
