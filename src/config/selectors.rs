//! The section `machines`: the selectors of the machines in scope.

use super::Selectors;
use super::reader::{MapReader, ValueReader};

const ALLOWED: &str = "at least one of ids, names, tags, filter, or all: true is allowed";

pub(super) fn read(field: &ValueReader<'_>) -> Option<Selectors> {
    let section = field.section()?;
    let ids = texts(&section, "ids", ID_ALLOWED, device_id);
    let names = texts(
        &section,
        "names",
        "a DNS name without wildcards is allowed (exclude.names may hold them)",
        name,
    );
    let tags = texts(&section, "tags", "the text of a device tag is allowed", plain_text);
    let filter = section.optional_or("filter", "the text of an OData $filter is allowed", None, |field| {
        field.text(filter).map(Some)
    });
    let all = section.optional_or("all", "true or false is allowed", false, ValueReader::boolean);
    let exclude = section.optional_or(
        "exclude",
        "a mapping with ids, names is allowed",
        (Vec::new(), Vec::new()),
        exclude,
    );
    // An invalid selector has its own problem already.
    let selects = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| !list.is_empty());
    let any = [&ids, &names, &tags].into_iter().any(selects)
        || filter.as_ref().is_none_or(Option::is_some)
        || all != Some(false);
    if !any {
        section.problem("selects no machine", ALLOWED);
    }
    section.finish();
    let (exclude_ids, exclude_names) = exclude?;
    Some(Selectors {
        ids: ids?,
        names: names?,
        tags: tags?,
        filter: filter?,
        all: all?,
        exclude_ids,
        exclude_names,
    })
}

fn exclude(field: &ValueReader<'_>) -> Option<(Vec<String>, Vec<String>)> {
    let section = field.section()?;
    let ids = texts(&section, "ids", ID_ALLOWED, device_id);
    let allowed = "a DNS name is allowed; * stands for any text";
    let names = texts(&section, "names", allowed, name_pattern);
    section.finish();
    Some((ids?, names?))
}

/// Returns the items of the list `key`, each converted by `check`; empty if the key is not given.
fn texts(
    section: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    check: fn(&str) -> Result<String, &'static str>,
) -> Option<Vec<String>> {
    let Some(field) = section.optional(key, "a list is allowed") else {
        return Some(Vec::new());
    };
    let items = field.list(allowed)?;
    let texts: Vec<_> = items.iter().map(|item| item.text(check)).collect();
    texts.into_iter().collect()
}

const ID_ALLOWED: &str = "a device id of 1 to 128 letters, digits, - and _ is allowed";

fn device_id(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.bytes().all(allowed) && text.len() <= 128 {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not a device id")
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("holds a wildcard");
    }
    name_pattern(text)
}

/// Converts a name. Defender has free text as the name of some devices, so only empty text and control
/// characters are rejected.
fn name_pattern(text: &str) -> Result<String, &'static str> {
    plain_text(text).map(|text| text.to_lowercase())
}

fn plain_text(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("is empty"),
        text if text.contains(char::is_control) => Err("holds a control character"),
        text => Ok(text.to_owned()),
    }
}

fn filter(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("is empty"),
        _ => Ok(text.to_owned()),
    }
}
