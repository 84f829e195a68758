//! Faults that a test switches on, and the replies they turn into.
//!
//! A fault stands in a queue for its endpoint (or for one machine) and is used up by the next n calls, or
//! stays until cleared. It is looked at before the token and the quota, as a gateway in front of the API is.
//! Files of the export have replies of their own.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::export::LINK_CANARY;
use super::machine::machine_record;
use super::random::{guid, machine_id};
use super::replies::{envelope, json_reply, reply};
use super::streams::{broken, compressed_bomb, dripping, huge};
use super::{Endpoint, Window};

/// Entra's code for trouble that passes.
const TRANSIENT: u32 = 90_033;

/// Something that goes wrong instead of the ordinary answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status, with the error envelope (Entra's, for the token).
    Status(u16),
    /// This status, with a gateway's HTML page.
    HtmlError(u16),
    /// 429 with the API's text (503 `ServerBusy` for a file of the export); `retry_after` is the header's value as it is, seconds or an HTTP date.
    Throttle {
        /// The header's value; none leaves the header out.
        retry_after: Option<String>,
        /// The quota that the text names.
        window: Window,
    },
    /// 200 whose body ends before its `Content-Length`.
    Truncated,
    /// 200 with text that is not JSON.
    NotJson,
    /// 200 with JSON of the wrong types.
    WrongShape,
    /// 200 whose body trickles, byte by byte, without end.
    SlowDrip,
    /// The request is read and never answered.
    Hang,
    /// The connection is reset without an answer.
    Reset,
    /// Each page has a record not seen before and a next link not seen before.
    EndlessPaging,
    /// Each page is empty and has a next link not seen before.
    EndlessEmptyPages,
    /// A page whose next link is the page itself.
    RepeatedLink,
    /// A page whose next link is this URL; for the export, a list whose only file is this URL.
    ForeignNextLink(String),
    /// 200 with half a gigabyte of JSON white space, made while it is sent; a file of the export grows to half
    /// a gigabyte of rows.
    HugeBody,
    /// 200 with a small gzip body that grows to half a gigabyte of JSON white space.
    CompressedBomb,
    /// 302 to this URL.
    Redirect(String),
    /// 400 with this AADSTS code, for the token; for anything else a plain 400.
    Aadsts(u32),
    /// 401 with the envelope.
    Unauthorized,
    /// 403 that names this role as missing.
    Forbidden(String),
    /// 404 `ResourceNotFound`: for a machine that it was not found, for a list that there is no machine.
    NotFound,
    /// 200 with these bytes as JSON.
    Body(Vec<u8>),
    /// The ordinary answer, so much later.
    Delay(Duration),
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// For the next n calls that it fits.
    Next(u32),
    /// Until cleared.
    Always,
}

struct Queued {
    endpoint: Endpoint,
    machine: Option<String>,
    fault: Fault,
    times: Times,
}

/// The faults that are switched on, oldest first.
#[derive(Default)]
pub(super) struct FaultQueue {
    queued: Vec<Queued>,
    pages: u64,
}

impl FaultQueue {
    pub(super) fn push(&mut self, endpoint: Endpoint, machine: Option<&str>, fault: Fault, times: Times) {
        if times != Times::Next(0) {
            self.queued.push(Queued { endpoint, machine: machine.map(str::to_owned), fault, times });
        }
    }

    pub(super) fn clear(&mut self) {
        self.queued.clear();
    }

    /// The fault for a call, and a number that differs for each.
    pub(super) fn take(&mut self, endpoint: Endpoint, machine: Option<&str>) -> Option<(Fault, u64)> {
        let place = self.queued.iter().position(|queued| {
            queued.endpoint == endpoint && (queued.machine.is_none() || queued.machine.as_deref() == machine)
        })?;
        let fault = self.queued[place].fault.clone();
        match &mut self.queued[place].times {
            Times::Always => {}
            Times::Next(1) => drop(self.queued.remove(place)),
            Times::Next(left) => *left -= 1,
        }
        self.pages += 1;
        Some((fault, self.pages))
    }
}

/// The call that a fault answers.
pub(super) struct Faulty<'call> {
    pub(super) endpoint: Endpoint,
    pub(super) machine: Option<&'call str>,
    /// `https://host:port`
    pub(super) base_url: &'call str,
    pub(super) path: &'call str,
    pub(super) path_and_query: &'call str,
    /// Differs for each call that meets a fault.
    pub(super) number: u64,
}

impl Faulty<'_> {
    /// The reply for a fault; not for those that concern the connection or the time only.
    pub(super) fn reply(&self, fault: Fault) -> Response<Body> {
        match fault {
            Fault::Status(code) => self.status(code, TRANSIENT),
            Fault::Aadsts(code) => self.status(400, code),
            Fault::HtmlError(code) => reply(status(code), "text/html", gateway_page(code)),
            Fault::Throttle { retry_after, window } => self.throttled(retry_after, window),
            Fault::Truncated => broken("application/json", self.first_bytes()),
            Fault::NotJson => reply(StatusCode::OK, "application/json", "The service is being updated."),
            Fault::WrongShape => json_reply(StatusCode::OK, &self.wrong_shape()),
            Fault::SlowDrip => dripping("application/json", self.first_bytes(), b" "),
            Fault::HugeBody => huge(self.first_bytes()),
            Fault::CompressedBomb => compressed_bomb(),
            Fault::EndlessPaging => self.page(&[self.made_up()], &self.link_not_seen_before()),
            Fault::EndlessEmptyPages => self.page(&[], &self.link_not_seen_before()),
            Fault::RepeatedLink => {
                self.page(&[self.made_up()], &format!("{}{}", self.base_url, self.path_and_query))
            }
            Fault::ForeignNextLink(url) if self.endpoint == Endpoint::Export => {
                json_reply(StatusCode::OK, &Self::list_of_files(&[json!(url)]))
            }
            Fault::ForeignNextLink(url) => self.page(&[self.made_up()], &url),
            Fault::Redirect(url) => {
                let mut found = reply(StatusCode::FOUND, "text/html", "");
                if let Ok(url) = url.parse() {
                    found.headers_mut().insert(header::LOCATION, url);
                }
                found
            }
            Fault::Unauthorized if self.endpoint == Endpoint::Token => self.status(401, TRANSIENT),
            Fault::Unauthorized => {
                envelope(StatusCode::UNAUTHORIZED, "Unauthorized", "Invalid or expired authorization header.")
            }
            Fault::Forbidden(role) => forbidden(&role, &[]),
            Fault::NotFound => self.not_found(),
            Fault::Body(bytes) => reply(StatusCode::OK, "application/json", bytes),
            Fault::Hang | Fault::Reset | Fault::Delay(_) => reply(StatusCode::BAD_GATEWAY, "text/html", ""),
        }
    }

    /// An error of the endpoint; `aadsts` is that of the token.
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

    fn throttled(&self, retry_after: Option<String>, window: Window) -> Response<Body> {
        let message = match (window, self.endpoint) {
            (Window::Minute, Endpoint::Export) => "API calls quota exceeded! maximum allowed 5 per 00:01:00",
            (Window::Hour, Endpoint::Export) => "API calls quota exceeded! maximum allowed 20 per 01:00:00",
            (Window::Minute, _) => "API calls quota exceeded! maximum allowed 50 per 00:01:00",
            (Window::Hour, _) => "API calls quota exceeded! maximum allowed 1500 per 01:00:00",
        };
        let mut response = match self.endpoint {
            Endpoint::Token => self.status(429, TRANSIENT),
            _ => envelope(StatusCode::TOO_MANY_REQUESTS, "429", message),
        };
        if let Some(value) = retry_after.and_then(|value| value.parse().ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
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
            _ => json!({"value": {"id": [1, 2]}, "@odata.nextLink": false}),
        }
    }

    fn made_up(&self) -> Value {
        if self.endpoint == Endpoint::Export {
            return json!(format!("{}/tvm-export/{}.json.gz?sig={LINK_CANARY}", self.base_url, self.number));
        }
        if self.endpoint == Endpoint::MissingKbs {
            let kb = 4_000_000 + self.number;
            return json!({"id": kb.to_string(), "name": "March 2020 Security Updates", "cveAddressed": 1,
                "productsNames": ["windows_10"], "machineMissedOn": 1, "url": "", "osBuild": 19045});
        }
        let name = format!("made-up-{}.corp.example", self.number);
        machine_record(&machine_id(99, self.number), &name, jiff::Timestamp::UNIX_EPOCH)
    }

    fn link_not_seen_before(&self) -> String {
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

/// The API's refusal of a token without the role that is needed.
pub(super) fn forbidden(required: &str, held: &[String]) -> Response<Body> {
    let message = format!(
        "Missing application roles. API required roles: {required}, application roles: {}.",
        held.join(",")
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
    fn fault_is_used_up_by_the_calls_it_fits() {
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
