//! The open connections: what each is about and since when, and which of them has to go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How much of the server a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. Default: 512, half of the 1,024 files that a process may have open by default;
    /// the rest is for polling and the state.
    pub connections: usize,
    /// From the start of a connection, and from the first byte of a further request, to the end of the
    /// request's head. Default: 10 s.
    pub head: Duration,
    /// Without that any of the reply is taken. Default: 30 s: the system's buffers take a reply in pieces of
    /// up to a megabyte, so that less would cut off a client that reads slowly but steadily.
    pub stall: Duration,
    /// From the end of a request's head to the end of its reply. Default: 5 min, what a reply of 170 MB takes
    /// at 5 Mbit/s.
    pub reply: Duration,
    /// Without a request. Default: 5 min, longer than scrapes of one client are usually apart, so that they go
    /// on with the connection they have.
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

/// Those that are open and need not go.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// Adds a new connection, in the place of the quietest one when there is none left.
    pub(super) fn add(&self) -> Arc<Connection> {
        let connection = Arc::new(Connection::new());
        let mut open = self.open();
        if open.len() >= self.limits.connections {
            close_quietest(&mut open);
        }
        open.push(Arc::clone(&connection));
        connection
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        self.open().retain(|open| !Arc::ptr_eq(open, connection));
    }

    /// Closes the one that has been quiet longest, if there is one.
    pub(super) fn close_quietest(&self) {
        close_quietest(&mut self.open());
    }

    /// Closes those that are over a limit.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        self.close_where(|state| state.is_overdue(now, &self.limits));
    }

    /// Closes those that have no request in hand. One of HTTP/2 that had some ends by itself: only the
    /// protocol knows whether the last of a reply is still on its way.
    pub(super) fn close_unasked(&self) {
        self.close_where(|state| match state.phase {
            Phase::Head => true,
            Phase::Idle => !state.is_http2,
            Phase::Reply { .. } => false,
        });
    }

    fn close_where(&self, has_to_go: impl Fn(&State) -> bool) {
        self.open().retain(|connection| {
            let state = connection.state();
            let goes = has_to_go(&state);
            if goes {
                tracing::debug!(phase = ?state.phase, "a connection is closed");
                connection.closing.cancel();
            }
            !goes
        });
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those without a request in hand go first.
fn close_quietest(open: &mut Vec<Arc<Connection>>) {
    let quiet = open.iter().enumerate().min_by_key(|(_, connection)| {
        let state = connection.state();
        (matches!(state.phase, Phase::Reply { .. }), state.since)
    });
    if let Some(index) = quiet.map(|(index, _)| index) {
        open.swap_remove(index).closing.cancel();
    }
}

/// A connection. The stream below HTTP and the replies tell it what happens.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    closing: CancellationToken,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Start of the phase; in a reply, when any of it was last taken.
    since: Instant,
    /// Requests whose replies are not yet complete; more than one with HTTP/2 only.
    in_hand: usize,
    is_http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request is to come, or its head is not yet whole.
    Head,
    /// A request is answered, the newest one since `asked`; or the last of the replies is not yet written.
    Reply { asked: Instant },
    /// Between two requests.
    Idle,
}

impl State {
    fn is_overdue(&self, now: Instant, limits: &Limits) -> bool {
        let quiet = now - self.since;
        match self.phase {
            Phase::Head => quiet >= limits.head,
            // With HTTP/2 the last bytes may be gone before the reply is known to be complete.
            Phase::Reply { .. } if self.is_http2 && self.in_hand == 0 => quiet >= limits.idle,
            Phase::Reply { asked } => quiet >= limits.stall || now - asked >= limits.reply,
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
        let state = State { phase: Phase::Head, since: Instant::now(), in_hand: 0, is_http2: false };
        Self { state: Mutex::new(state), closing: CancellationToken::new() }
    }

    /// Until it has to go.
    pub(super) async fn has_to_go(&self) {
        self.closing.cancelled().await;
    }

    /// Frames between two requests are no start of the next one.
    pub(super) fn speaks_http2(&self) {
        self.state().is_http2 = true;
    }

    /// A request has been read; its reply is complete when what is returned is dropped.
    pub(super) fn asked(self: &Arc<Self>) -> InFlight {
        let now = Instant::now();
        let mut state = self.state();
        state.enter(Phase::Reply { asked: now }, now);
        state.in_hand += 1;
        InFlight(Arc::clone(self))
    }

    /// Something was read from the client. Between two requests it is the start of the next one, but for
    /// HTTP/2.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle && !state.is_http2 {
            state.enter(Phase::Head, Instant::now());
        }
    }

    /// The system took something for the client.
    pub(super) fn sent(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Reply { .. }) {
            state.since = Instant::now();
        }
    }

    /// The system took everything there was.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if state.in_hand == 0 && matches!(state.phase, Phase::Reply { .. }) {
            state.enter(Phase::Idle, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose reply is not yet complete.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().in_hand -= 1;
    }
}
