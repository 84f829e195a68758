//! The list of the files of an export version.
//!
//! `{"exportFiles": ["https://..."], "generatedTime": "..."}`
//! (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>). Each
//! link carries its own permission, so it is as secret as a token: a [`Link`] never prints.

use std::fmt;

use jiff::Timestamp;
use reqwest::Url;
use serde::de::Error as _;

use crate::defender::ApiError;
use crate::defender::json::Json;
use crate::model::ApiOperation;
use crate::text::without_byte_order_mark;

/// The maximum size of a list: thousands of links of about 450 bytes.
pub(super) const LIST_BYTES: usize = 4 << 20;

/// The files of one export version.
#[derive(Debug)]
pub(super) struct FileList {
    /// The time at which the version was built; `None` if the list has no time.
    pub generated_at: Option<Timestamp>,
    /// The links, in the order of the list.
    pub links: Vec<Link>,
}

impl FileList {
    /// Decodes a reply. http links are accepted only with `allow_http`.
    ///
    /// # Errors
    /// `Decode` if there is no array of strings, `UnusableLink` if a link must not be followed: an export is
    /// read completely or not at all.
    pub(super) fn decode(body: &[u8], allow_http: bool) -> Result<Self, ApiError> {
        let shape = |source| ApiError::Decode { endpoint: ApiOperation::Export, source };
        let body = without_byte_order_mark(body);
        // A value of the wrong type may be a link, so no message quotes it.
        let Json::Object(reply) = serde_json::from_slice(body).map_err(shape)? else {
            return Err(shape(serde_json::Error::custom("not an object")));
        };
        let Json::List(files) = reply.field("exportFiles") else {
            return Err(shape(serde_json::Error::missing_field("exportFiles")));
        };
        let link = |(place, file): (usize, &Json<'_>)| {
            let text =
                file.as_str().ok_or_else(|| shape(serde_json::Error::custom("a link is not a string")))?;
            Link::parse(text, allow_http).ok_or(ApiError::UnusableLink { file: place + 1 })
        };
        let links = files.iter().enumerate().map(link).collect::<Result<_, _>>()?;
        Ok(Self { generated_at: reply.time("generatedTime"), links })
    }

    /// Returns whether both lists name the same files of the same version, regardless of the permissions.
    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        let files = |list: &Self| {
            let mut files: Vec<_> = list.links.iter().map(|link| link.path().to_owned()).collect();
            files.sort_unstable();
            files
        };
        self.generated_at.is_some() && self.generated_at == other.generated_at && files(self) == files(other)
    }
}

/// The URL of a file, with the permission to fetch it.
pub(super) struct Link(Url);

impl Link {
    fn parse(text: &str, allow_http: bool) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_open = url.scheme() == "https" || allow_http && url.scheme() == "http";
        // A user would be sent in an `Authorization` header.
        let has_user = !url.username().is_empty() || url.password().is_some();
        (is_open && !has_user).then_some(Self(url))
    }

    /// The URL, which is a secret.
    pub(super) fn expose(&self) -> &Url {
        &self.0
    }

    /// The path, which identifies the file within its version.
    pub(super) fn path(&self) -> &str {
        self.0.path()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(body: &str) -> Result<FileList, ApiError> {
        FileList::decode(body.as_bytes(), false)
    }

    fn paths(body: &str) -> Vec<String> {
        decode(body).unwrap().links.iter().map(|link| link.path().to_owned()).collect()
    }

    #[test]
    fn documented_list_is_decoded() {
        let body = r#"{"@odata.context":"x","exportFiles":["https://blob.example/part-0.json.gz?sig=SECRET",
            "https://blob.example/part-1.json.gz?sig=SECRET"],"generatedTime":"2021-01-11T11:01:00Z"}"#;
        let list = decode(body).unwrap();
        assert_eq!(list.generated_at.unwrap().to_string(), "2021-01-11T11:01:00Z");
        assert_eq!(paths(body), ["/part-0.json.gz", "/part-1.json.gz"]);
        assert!(!format!("{list:?}").contains("blob") && !format!("{list:?}").contains("SECRET"), "{list:?}");
    }

    #[test]
    fn keys_match_in_any_case_and_the_time_is_optional() {
        let list = decode(r#"{"ExportFiles":[],"GENERATEDTIME":"2021-01-11T11:01:00"}"#).unwrap();
        assert_eq!(list.generated_at.unwrap().to_string(), "2021-01-11T11:01:00Z");
        assert_eq!(decode(r#"{"exportFiles":[]}"#).unwrap().generated_at, None);
        assert_eq!(decode(r#"{"exportFiles":[],"generatedTime":"soon"}"#).unwrap().generated_at, None);
    }

    #[test]
    fn reply_without_an_array_of_links_is_an_error() {
        for body in ["{}", r#"{"exportFiles":null}"#, r#"{"exportFiles":"x"}"#, "[]", "null", "", "<html>"] {
            assert_eq!(decode(body).unwrap_err().kind(), "decode", "{body}");
        }
        let error =
            decode(r#"{"exportFiles":["https://blob.example/a?sig=SECRET",{"u":"SECRET"}]}"#).unwrap_err();
        let text = crate::error::Chain(&error).to_string();
        assert!(text.ends_with("does not have the expected shape: a link is not a string"), "{text}");
        let error = decode(r#""https://blob.example/a?sig=SECRET""#).unwrap_err();
        assert!(!crate::error::Chain(&error).to_string().contains("SECRET"), "{error:?}");
    }

    #[test]
    fn only_https_links_without_a_user_are_followed() {
        for link in
            ["ftp://x/a", "file:///etc/passwd", "http://x/a", "/a", "", "https://u@x/a", "https://:p@x/a"]
        {
            let error = decode(&format!(r#"{{"exportFiles":["https://x/a","{link}"]}}"#)).unwrap_err();
            assert!(matches!(error, ApiError::UnusableLink { file: 2 }), "{link}: {error}");
        }
        let own = br#"{"exportFiles":["http://127.0.0.1:9/a"]}"#;
        assert!(FileList::decode(own, true).is_ok());
    }

    #[test]
    fn new_permissions_are_not_a_new_version() {
        let list = |time: &str, files: &str| {
            decode(&format!(r#"{{"exportFiles":[{files}],"generatedTime":{time}}}"#)).unwrap()
        };
        let time = r#""2021-01-11T11:01:00Z""#;
        let old = list(time, r#""https://x/a?s=1","https://x/b?s=1""#);
        assert!(old.is_same_version(&list(time, r#""https://y/b?s=2","https://y/a?s=2""#)));
        assert!(!old.is_same_version(&list(time, r#""https://x/a?s=1""#)));
        let later = r#""2021-01-11T17:01:00Z""#;
        assert!(!old.is_same_version(&list(later, r#""https://x/a?s=1","https://x/b?s=1""#)));
        let undated = list("null", r#""https://x/a""#);
        assert!(!undated.is_same_version(&list("null", r#""https://x/a""#)));
    }

    proptest! {
        #[test]
        fn decoder_does_not_panic_on_any_list(body: Vec<u8>, link in ".*") {
            drop(FileList::decode(&body, true));
            drop(decode(&serde_json::json!({"exportFiles": [link]}).to_string()));
        }
    }
}
