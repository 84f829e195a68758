//! The open connections: the phase of each, and the decision which of them to close.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections. Default: 512, half of the 1,024 files that a process may open by default; the
    /// rest is for polling and the state file.
    pub connections: usize,
    /// Time from the start of a connection, or from the first byte of a further request, to the end of the
    /// head of the request. Default: 10 s.
    pub head: Duration,
    /// Time without progress of a reply. Default: 30 s. The buffers of the system accept a reply in pieces of
    /// up to a megabyte, so a shorter time would cut off a client that reads slowly but steadily.
    pub stall: Duration,
    /// Time from the end of the head of a request to the end of its reply. Default: 5 min, enough for a reply
    /// of 170 MB at 5 Mbit/s.
    pub reply: Duration,
    /// Time without a request. Default: 5 min, longer than usual scrape intervals, so that a client reuses its
    /// connection.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            reply: Duration::from_mins(5),
            idle: Duration::from_mins(5),
        }
    }
}

/// Open connections that are not being closed.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// Adds a new connection. At the limit it replaces the quietest one.
    pub(super) fn add(&self) -> Arc<Connection> {
        let connection = Arc::new(Connection::new());
        let mut open = self.open();
        if open.len() >= self.limits.connections {
            close_quietest(&mut open);
        }
        open.push(Arc::clone(&connection));
        connection
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        self.open().retain(|open| !Arc::ptr_eq(open, connection));
    }

    /// Closes the connection that has been quiet longest, if any.
    pub(super) fn close_quietest(&self) {
        close_quietest(&mut self.open());
    }

    /// Closes the connections that exceed a time limit.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        self.close_where(|state| state.is_overdue(now, &self.limits));
    }

    /// Closes the connections without a request in flight. An HTTP/2 connection that had requests ends by
    /// itself: only the protocol knows whether the end of a reply has been sent.
    pub(super) fn close_idle(&self) {
        self.close_where(|state| match state.phase {
            Phase::Head => true,
            Phase::Idle => !state.is_http2,
            Phase::Reply { .. } => false,
        });
    }

    fn close_where(&self, should_close: impl Fn(&ConnectionState) -> bool) {
        self.open().retain(|connection| {
            let state = connection.state();
            let closes = should_close(&state);
            if closes {
                tracing::debug!(phase = ?state.phase, "closing a connection");
                connection.closing.cancel();
            }
            !closes
        });
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the quietest connection; those without a request in flight first.
fn close_quietest(open: &mut Vec<Arc<Connection>>) {
    let quiet = open.iter().enumerate().min_by_key(|(_, connection)| {
        let state = connection.state();
        (matches!(state.phase, Phase::Reply { .. }), state.since)
    });
    if let Some(index) = quiet.map(|(index, _)| index) {
        open.swap_remove(index).closing.cancel();
    }
}

/// A connection. The byte stream and the replies report their events to it.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<ConnectionState>,
    closing: CancellationToken,
}

#[derive(Debug)]
struct ConnectionState {
    phase: Phase,
    /// The start of the phase, or the last progress of a reply.
    since: Instant,
    /// The number of requests without a complete reply; more than one with HTTP/2 only.
    in_flight: usize,
    is_http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the complete head of a request.
    Head,
    /// Replying; `started` is the time of the newest request. Lasts until the end of the last reply is written.
    Reply { started: Instant },
    /// Between two requests.
    Idle,
}

impl ConnectionState {
    fn is_overdue(&self, now: Instant, limits: &Limits) -> bool {
        let quiet = now - self.since;
        match self.phase {
            Phase::Head => quiet >= limits.head,
            // With HTTP/2 the last bytes may be sent before the reply is complete.
            Phase::Reply { .. } if self.is_http2 && self.in_flight == 0 => quiet >= limits.idle,
            Phase::Reply { started } => quiet >= limits.stall || now - started >= limits.reply,
            Phase::Idle => quiet >= limits.idle,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

impl Connection {
    fn new() -> Self {
        let state =
            ConnectionState { phase: Phase::Head, since: Instant::now(), in_flight: 0, is_http2: false };
        Self { state: Mutex::new(state), closing: CancellationToken::new() }
    }

    /// Waits until the connection must be closed.
    pub(super) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Marks the connection as HTTP/2, where received bytes between two requests do not start a request.
    pub(super) fn set_http2(&self) {
        self.state().is_http2 = true;
    }

    /// Records a request. Its reply is complete when the returned value is dropped.
    pub(super) fn request_started(self: &Arc<Self>) -> InFlight {
        let now = Instant::now();
        let mut state = self.state();
        state.enter(Phase::Reply { started: now }, now);
        state.in_flight += 1;
        InFlight(Arc::clone(self))
    }

    /// Records received bytes. Between two requests they start the next one, except with HTTP/2.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle && !state.is_http2 {
            state.enter(Phase::Head, Instant::now());
        }
    }

    /// Records that the system accepted bytes for the client.
    pub(super) fn sent(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Reply { .. }) {
            state.since = Instant::now();
        }
    }

    /// Records that the system accepted all pending bytes.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if state.in_flight == 0 && matches!(state.phase, Phase::Reply { .. }) {
            state.enter(Phase::Idle, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request without a complete reply.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}
