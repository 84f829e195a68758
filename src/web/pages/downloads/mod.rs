//! Downloads: the rows of a page, from all pages, as CSV or JSON.
//!
//! `machines`, `updates` and `report_rows` choose the rows and write them in chunks, `body` sends the chunks. Rows are
//! made while the client reads, so that a download of any size needs little memory. There are [`SLOTS`] downloads at a
//! time.

mod body;
mod machines;
mod report_rows;
mod updates;

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use self::body::DownloadBody;
use self::machines::PendingMachines;
use self::report_rows::PendingReportRows;
use self::updates::PendingUpdates;
use super::context::PageContext;
use super::query::kb_named;
use super::{machine, machines as machine_list, update, updates as update_list};
use crate::model::MachineId;
use crate::report::TableWriter;
use crate::report::csv::CsvTable;
use crate::report::json::JsonTable;
use crate::web::WebState;

/// The number of downloads at the same time.
const SLOTS: usize = 2;

/// The size from which rows are sent, in bytes.
const CHUNK: usize = 1 << 16;

/// A table that can be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Download {
    /// The machines.
    Machines,
    /// The missing updates of one machine.
    Machine,
    /// The missing updates.
    Updates,
    /// The machines that miss one update.
    Update,
}

/// The format of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DownloadFormat {
    Csv,
    Json,
}

impl DownloadFormat {
    /// The name of an object and the format from the last segment of a path; none without a format.
    pub(super) fn split(segment: &str) -> Option<(&str, Self)> {
        let (object, extension) = segment.rsplit_once('.')?;
        match extension {
            "csv" => Some((object, Self::Csv)),
            "json" => Some((object, Self::Json)),
            _ => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        }
    }
}

/// The rows of a download that are not written yet.
trait PendingRows: Send {
    /// The names of the columns.
    fn columns(&self) -> Vec<String>;

    /// Writes rows until the table is full. Returns whether more rows follow.
    fn write(&mut self, table: &mut DownloadTable) -> io::Result<bool>;
}

/// A table in memory, of which the part that was sent is removed.
enum DownloadTable {
    Csv(CsvTable<Vec<u8>>),
    Json(JsonTable<Vec<u8>>),
}

impl DownloadTable {
    fn new(format: DownloadFormat, columns: &[String]) -> Self {
        let columns = columns.iter().map(String::as_str);
        let table = match format {
            DownloadFormat::Csv => CsvTable::new(Vec::new(), columns).map(Self::Csv),
            DownloadFormat::Json => JsonTable::new(Vec::new(), columns).map(Self::Json),
        };
        table.expect("Safe: memory can be written")
    }

    fn writer(&mut self) -> &mut dyn TableWriter {
        match self {
            Self::Csv(table) => table,
            Self::Json(table) => table,
        }
    }

    fn text(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Csv(table) => table.output(),
            Self::Json(table) => table.output(),
        }
    }

    /// Returns whether the text is large enough to be sent.
    fn is_full(&mut self) -> bool {
        self.text().len() >= CHUNK
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.text()).into()
    }
}

/// A download that is not written completely.
struct PendingDownload {
    table: DownloadTable,
    /// None after the last row.
    rows: Option<Box<dyn PendingRows>>,
}

impl PendingDownload {
    fn new(format: DownloadFormat, rows: Box<dyn PendingRows>) -> Self {
        Self { table: DownloadTable::new(format, &rows.columns()), rows: Some(rows) }
    }

    /// Writes the next chunk; none after the end.
    fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        if !rows.write(&mut self.table)? {
            self.table.writer().end_table()?;
            self.rows = None;
        }
        Ok(Some(self.table.take()))
    }
}

/// Answers requests for downloads.
#[derive(Clone)]
pub(super) struct Downloads {
    slots: Arc<Semaphore>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(SLOTS)) }
    }
}

impl Downloads {
    /// Answers a request for a download; `object` is empty unless the download is about one object.
    pub(super) async fn respond(
        &self,
        state: WebState,
        method: Method,
        uri: Uri,
        query: Option<String>,
        (download, object, format): (Download, String, DownloadFormat),
    ) -> Response {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let retry = [(header::RETRY_AFTER, "5"), (header::CACHE_CONTROL, "no-store")];
            return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many downloads at once\n").into_response();
        };
        let preparing = tokio::task::spawn_blocking(move || {
            let query = query.unwrap_or_default();
            let context = match super::context(&state, uri.path(), &query, download.orders()) {
                Ok(context) => context,
                Err(invalid) => return Err((StatusCode::BAD_REQUEST, invalid.to_string())),
            };
            let Some((name, rows)) = download.rows(&context, &object) else {
                return Err((StatusCode::NOT_FOUND, "not found\n".to_owned()));
            };
            Ok((PendingDownload::new(format, rows), file_name(&name, format)))
        });
        let prepared = preparing.await.expect("Safe: choosing the rows does not panic and is never aborted");
        let mut response = match prepared {
            Ok((pending, file_name)) => {
                let body = if method == Method::HEAD {
                    DownloadBody::unread()
                } else {
                    DownloadBody::start(pending, slot)
                };
                let mut response = Response::new(Body::new(body));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
                headers.insert(header::CONTENT_DISPOSITION, file_name);
                response
            }
            Err((status, text)) => (status, text).into_response(),
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Download {
    /// The orders of the rows, as on the page.
    fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Machines => &machine_list::ORDERS,
            Self::Machine => &machine::ORDERS,
            Self::Updates => &update_list::ORDERS,
            Self::Update => update::ORDERS,
        }
    }

    /// The name of the file and the rows; none if nothing has the name `object`.
    fn rows(self, context: &PageContext, object: &str) -> Option<(String, Box<dyn PendingRows>)> {
        Some(match self {
            Self::Machines => ("machines".to_owned(), Box::new(PendingMachines::new(context))),
            Self::Machine => {
                let rows = PendingReportRows::of_machine(context, object)?;
                (MachineId::parse(object)?.to_string(), Box::new(rows))
            }
            Self::Updates => ("updates".to_owned(), Box::new(PendingUpdates::new(context))),
            Self::Update => {
                let kb = kb_named(object).filter(|kb| update::is_known(context, *kb))?;
                (format!("KB{kb}"), Box::new(PendingReportRows::of_update(context, kb)))
            }
        })
    }
}

/// The header that names the file.
fn file_name(name: &str, format: DownloadFormat) -> HeaderValue {
    let text = format!("attachment; filename=\"{name}.{}\"", format.extension());
    HeaderValue::from_str(&text).expect("Safe: names are letters, digits, hyphens and underscores")
}
