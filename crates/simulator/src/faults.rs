//! Faults injected by tests, and the replies that they produce.
//!
//! A fault waits in a queue for its endpoint (or for one machine). It applies to the next n calls, or until
//! it is cleared. It comes before the checks of token and quota, like a gateway in front of the API. The
//! files of the export have replies of their own.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::default_record::machine_record;
use super::endpoint::{Endpoint, QuotaPeriod};
use super::fault_bodies::{broken, compressed_bomb, dripping, huge};
use super::random::{guid, machine_id};
use super::replies::{envelope, json_reply, reply};
use super::secrets::LINK_CANARY;

/// Entra's code for a transient error.
const TRANSIENT: u32 = 90_033;

/// A failure or a defect that replaces the ordinary answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with the error envelope (Entra's, for a token).
    Status(u16),
    /// This status with the HTML page of a gateway.
    HtmlError(u16),
    /// 429 with the API's text (503 `ServerBusy` for a file of the export).
    Throttle {
        /// The value of the header, sent as it is: seconds or an HTTP date. None omits the header.
        retry_after: Option<String>,
        /// The quota named in the text.
        window: QuotaPeriod,
    },
    /// 503 with this `Retry-After`: seconds or an HTTP date.
    Unavailable(String),
    /// 200 with a body that ends before its `Content-Length`.
    Truncated,
    /// 200 with text that is not JSON.
    NotJson,
    /// 200 with JSON of the wrong types.
    WrongShape,
    /// 200 with an endless body that is sent slowly, byte by byte.
    SlowDrip,
    /// No answer: the request is read and then ignored.
    Hang,
    /// A reset of the connection, without an answer.
    Reset,
    /// Pages that each have a new record and a new next link.
    EndlessPaging,
    /// Pages that are empty and each have a new next link.
    EndlessEmptyPages,
    /// A page whose next link is the page itself. Its record is always the same.
    RepeatedLink,
    /// A page whose next link is this URL; for the export, a list whose only file is this URL.
    ForeignNextLink(String),
    /// 200 with half a gigabyte of JSON white space, generated while it is sent. A file of the export expands
    /// to half a gigabyte of rows.
    HugeBody,
    /// 200 with a small gzip body that expands to half a gigabyte of JSON white space.
    CompressedBomb,
    /// 302 to this URL.
    Redirect(String),
    /// 400 with this AADSTS code for a token; a plain 400 for any other endpoint.
    Aadsts(u32),
    /// 401 with the error envelope.
    Unauthorized,
    /// 403 that names this role as missing.
    Forbidden(String),
    /// 404 `ResourceNotFound`: for a machine, that it was not found; for a list, that there is no machine.
    NotFound,
    /// 200 with these bytes as JSON.
    Body(Vec<u8>),
    /// The ordinary answer, after this delay.
    Delay(Duration),
    /// The ordinary list of machines, with these bytes as the name of its first machine: they need not be
    /// UTF-8, and are not escaped.
    BrokenName(Vec<u8>),
    /// A catalogue with less than half of its entries: of a document's KBs, of KEV's CVEs, of EPSS's rows.
    Shrunken,
    /// A document as it was on its first day, with a lower revision.
    OlderRevision,
    /// A document of more than 4 MiB: the ordinary one and many CVEs without a KB.
    Padded,
    /// 403 to a client whose user agent is not that of the exporter; the ordinary answer to the exporter.
    RefusedToOthers,
}

/// The number of calls that a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next n calls that match.
    Next(u32),
    /// All matching calls, until the fault is cleared.
    Always,
    /// The first matching call, and then every second one, until the fault is cleared.
    EverySecond,
}

struct QueuedFault {
    endpoint: Endpoint,
    machine: Option<String>,
    fault: Fault,
    times: Times,
    /// The number of calls that matched.
    matches: u64,
}

/// The injected faults, oldest first.
#[derive(Default)]
pub(super) struct FaultQueue {
    queued: Vec<QueuedFault>,
    pages: u64,
}

impl FaultQueue {
    pub(super) fn push(&mut self, endpoint: Endpoint, machine: Option<&str>, fault: Fault, times: Times) {
        if times != Times::Next(0) {
            let machine = machine.map(str::to_owned);
            self.queued.push(QueuedFault { endpoint, machine, fault, times, matches: 0 });
        }
    }

    pub(super) fn clear(&mut self) {
        self.queued.clear();
    }

    /// Takes the fault for a call, with a number that is different for each call.
    pub(super) fn take(&mut self, endpoint: Endpoint, machine: Option<&str>) -> Option<(Fault, u64)> {
        let place = self.queued.iter().position(|queued| {
            queued.endpoint == endpoint && (queued.machine.is_none() || queued.machine.as_deref() == machine)
        })?;
        let fault = self.queued[place].fault.clone();
        self.queued[place].matches += 1;
        let is_even = self.queued[place].matches.is_multiple_of(2);
        match &mut self.queued[place].times {
            Times::EverySecond if is_even => return None,
            Times::Always | Times::EverySecond => {}
            Times::Next(1) => drop(self.queued.remove(place)),
            Times::Next(left) => *left -= 1,
        }
        self.pages += 1;
        Some((fault, self.pages))
    }
}

/// The call that a fault applies to.
pub(super) struct FaultyCall<'call> {
    pub(super) endpoint: Endpoint,
    pub(super) machine: Option<&'call str>,
    /// The base URL: `https://host:port`.
    pub(super) base_url: &'call str,
    pub(super) path: &'call str,
    pub(super) path_and_query: &'call str,
    /// A number that is different for each call with a fault.
    pub(super) number: u64,
}

impl FaultyCall<'_> {
    /// The reply for a fault. Not for faults that concern only the connection or the time.
    pub(super) fn reply(&self, fault: Fault) -> Response<Body> {
        match fault {
            Fault::Status(code) => self.status(code, TRANSIENT),
            Fault::Aadsts(code) => self.status(400, code),
            Fault::HtmlError(code) => reply(status(code), "text/html", gateway_page(code)),
            Fault::Throttle { retry_after, window } => self.throttled(retry_after, window),
            Fault::Unavailable(retry_after) => with_retry_after(self.status(503, TRANSIENT), &retry_after),
            Fault::Truncated => broken("application/json", self.first_bytes()),
            Fault::NotJson => reply(StatusCode::OK, "application/json", "The service is being updated."),
            Fault::WrongShape => json_reply(StatusCode::OK, &self.wrong_shape()),
            Fault::SlowDrip => dripping("application/json", self.first_bytes(), b" "),
            Fault::HugeBody => huge(self.first_bytes()),
            Fault::CompressedBomb => compressed_bomb(),
            Fault::EndlessPaging => self.page(&[self.invented_record(self.number)], &self.new_link()),
            Fault::EndlessEmptyPages => self.page(&[], &self.new_link()),
            Fault::RepeatedLink => {
                self.page(&[self.invented_record(0)], &format!("{}{}", self.base_url, self.path_and_query))
            }
            Fault::ForeignNextLink(url) if self.endpoint == Endpoint::Export => {
                json_reply(StatusCode::OK, &Self::list_of_files(&[json!(url)]))
            }
            Fault::ForeignNextLink(url) => self.page(&[self.invented_record(self.number)], &url),
            Fault::Redirect(url) => {
                let mut redirect = reply(StatusCode::FOUND, "text/html", "");
                if let Ok(url) = url.parse() {
                    redirect.headers_mut().insert(header::LOCATION, url);
                }
                redirect
            }
            Fault::Unauthorized if self.endpoint == Endpoint::Token => self.status(401, TRANSIENT),
            Fault::Unauthorized => {
                envelope(StatusCode::UNAUTHORIZED, "Unauthorized", "Invalid or expired authorization header.")
            }
            Fault::Forbidden(role) => forbidden(&role, &[]),
            Fault::NotFound => self.not_found(),
            Fault::Body(bytes) => reply(StatusCode::OK, "application/json", bytes),
            Fault::Hang
            | Fault::Reset
            | Fault::Delay(_)
            | Fault::BrokenName(_)
            | Fault::Shrunken
            | Fault::OlderRevision
            | Fault::Padded
            | Fault::RefusedToOthers => reply(StatusCode::BAD_GATEWAY, "text/html", ""),
        }
    }

    /// An error of the endpoint. `aadsts` is the code in the answer to a token request.
    fn status(&self, code: u16, aadsts: u32) -> Response<Body> {
        if self.endpoint == Endpoint::Token {
            let (error, text) = match aadsts {
                TRANSIENT => ("temporarily_unavailable", "A transient error has occurred. Please try again."),
                _ => ("invalid_request", "The request was refused."),
            };
            let body = json!({
                "error": error,
                "error_description": format!("AADSTS{aadsts}: {text}\r\n"),
                "error_codes": [aadsts],
                "trace_id": guid(self.number, 1),
                "correlation_id": guid(self.number, 2),
            });
            return json_reply(status(code), &body);
        }
        let name = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            429 => "TooManyRequests",
            500 => "InternalServerError",
            503 => "ServiceUnavailable",
            _ => "GeneralError",
        };
        envelope(status(code), name, "An error has occurred.")
    }

    fn throttled(&self, retry_after: Option<String>, window: QuotaPeriod) -> Response<Body> {
        let message = match (window, self.endpoint) {
            (QuotaPeriod::Minute, Endpoint::Export) => {
                "API calls quota exceeded! maximum allowed 5 per 00:01:00"
            }
            (QuotaPeriod::Hour, Endpoint::Export) => {
                "API calls quota exceeded! maximum allowed 20 per 01:00:00"
            }
            (QuotaPeriod::Minute, _) => "API calls quota exceeded! maximum allowed 50 per 00:01:00",
            (QuotaPeriod::Hour, _) => "API calls quota exceeded! maximum allowed 1500 per 01:00:00",
        };
        let response = match self.endpoint {
            Endpoint::Token => self.status(429, TRANSIENT),
            _ => envelope(StatusCode::TOO_MANY_REQUESTS, "429", message),
        };
        match retry_after {
            Some(value) => with_retry_after(response, &value),
            None => response,
        }
    }

    fn first_bytes(&self) -> Bytes {
        Bytes::from_static(match self.endpoint {
            Endpoint::Token => b"{\"token_type\":\"Bearer\",\"expires_in\":35",
            Endpoint::Export => b"{\"@odata.context\":\"https://api.securitycenter.microsoft.com/api/$metadata\",\"exportFiles\":[ ",
            _ => {
                b"{\"@odata.context\":\"https://api.securitycenter.microsoft.com/api/$metadata\",\"value\":[ "
            }
        })
    }

    fn wrong_shape(&self) -> Value {
        match self.endpoint {
            Endpoint::Token => json!({"token_type": 7, "expires_in": "soon", "access_token": null}),
            Endpoint::Machine => json!([null]),
            Endpoint::Export => json!({"exportFiles": {"first": 7}, "generatedTime": [1]}),
            Endpoint::MsrcDocument => json!({"DocumentTracking": 7, "Vulnerability": {"CVE": [1]}}),
            Endpoint::Kev => json!({"vulnerabilities": {"cveID": 7}}),
            _ => json!({"value": {"id": [1, 2]}, "@odata.nextLink": false}),
        }
    }

    fn invented_record(&self, number: u64) -> Value {
        if self.endpoint == Endpoint::Export {
            return json!(format!("{}/tvm-export/{number}.json.gz?sig={LINK_CANARY}", self.base_url));
        }
        if self.endpoint == Endpoint::MissingKbs {
            let kb = 4_000_000 + number;
            return json!({"id": kb.to_string(), "name": "March 2020 Security Updates", "cveAddressed": 1,
                "productsNames": ["windows_10"], "machineMissedOn": 1, "url": "", "osBuild": 19045});
        }
        let name = format!("made-up-{number}.corp.example");
        let mut record = machine_record(&machine_id(99, number), &name, jiff::Timestamp::UNIX_EPOCH);
        // Its servicing is the same at any time.
        record["osBuild"] = Value::Null;
        record
    }

    fn new_link(&self) -> String {
        format!("{}{}?$skip={}", self.base_url, self.path, self.number)
    }

    fn list_of_files(files: &[Value]) -> Value {
        json!({
            "@odata.context": "https://api.securitycenter.microsoft.com/api/$metadata#ExportFilesResponse",
            "exportFiles": files,
            "generatedTime": "2025-01-01T00:00:00Z",
        })
    }

    fn page(&self, value: &[Value], next_link: &str) -> Response<Body> {
        if self.endpoint == Endpoint::Export {
            let mut list = Self::list_of_files(value);
            list["@odata.nextLink"] = json!(next_link);
            return json_reply(StatusCode::OK, &list);
        }
        let page = json!({
            "@odata.context": "https://api.securitycenter.microsoft.com/api/$metadata#Machines",
            "value": value,
            "@odata.nextLink": next_link,
        });
        json_reply(StatusCode::OK, &page)
    }

    fn not_found(&self) -> Response<Body> {
        let message = match self.machine {
            Some(machine) => format!("Machine {machine} was not found"),
            None => "No recent machines were found".to_owned(),
        };
        envelope(StatusCode::NOT_FOUND, "ResourceNotFound", &message)
    }
}

fn with_retry_after(mut response: Response<Body>, value: &str) -> Response<Body> {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// The API's answer to a token without the required role.
pub(super) fn forbidden(required: &str, granted: &[String]) -> Response<Body> {
    let message = format!(
        "Missing application roles. API required roles: {required}, application roles: {}.",
        granted.join(",")
    );
    envelope(StatusCode::FORBIDDEN, "Forbidden", &message)
}

pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn gateway_page(code: u16) -> String {
    format!(
        "<html>\r\n<head><title>{code} Error</title></head>\r\n<body>\r\n<center><h1>{code} Error</h1></center>\r\n\
         <hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n</body>\r\n</html>\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_applies_to_its_number_of_matching_calls() {
        let mut queue = FaultQueue::default();
        queue.push(Endpoint::MissingKbs, Some("a"), Fault::Reset, Times::Next(2));
        queue.push(Endpoint::Machines, None, Fault::NotJson, Times::Always);
        let mut take = |endpoint, machine| queue.take(endpoint, machine).map(|(fault, _)| fault);
        assert_eq!(take(Endpoint::MissingKbs, Some("b")), None);
        assert_eq!(take(Endpoint::MissingKbs, Some("a")), Some(Fault::Reset));
        assert_eq!(take(Endpoint::MissingKbs, Some("a")), Some(Fault::Reset));
        assert_eq!(take(Endpoint::MissingKbs, Some("a")), None);
        assert_eq!(take(Endpoint::Machines, None), Some(Fault::NotJson));
        assert_eq!(take(Endpoint::Machines, None), Some(Fault::NotJson));
    }
}
