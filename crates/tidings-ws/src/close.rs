//! The close handshake (RFC 6455 §7) as a machine: who says what, until when, and whether the end was clean.
//!
//! ```text
//!        close()               receive()                flushed()               ended() or deadline
//! Open ───────────▶ Awaiting ───────────▶ Flushing ───────────────▶ Lingering ─────────────────▶ Done
//!   └───────────────────────────────────────▲
//!        receive(): send the echo; fail(): send the reason
//! ```
//!
//! A single deadline, [`CLOSE_TIMEOUT`] after the first step, bounds the whole way from `Open` to `Done`, so
//! that a peer which does not answer, or does not read, cannot keep a connection.

use crate::decode::ProtocolError;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;

/// How long a connection may take to close, from the first close frame on: so long that even on a busy machine it is
/// gone within 5 seconds.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(4_500);

/// What a close frame says (RFC 6455 §5.5.1).
///
/// A frame without a body is one with [`CloseCode::Status`] (1005), as §7.1.5 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame {
    /// Why the connection ends (§7.4).
    pub code: CloseCode,
    /// The same in words, for a log; not for people and not for programs.
    pub reason: String,
}

impl CloseFrame {
    /// A close frame; see [`frame::put_close`](crate::frame::put_close) for what becomes of it on the wire.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// A close frame without a body.
    pub fn empty() -> Self {
        Self::new(CloseCode::Status, "")
    }
}

/// What the driver of a closing connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing of a close yet: messages go both ways.
    Open,
    /// Our close frame is under way: write nothing after it, but read on, for the peer may have messages in
    /// flight before its own close frame.
    Awaiting,
    /// Nothing more will be read that matters: write what is left, the last of which is our close frame.
    Flushing,
    /// All is said: shut down the write half, then read and discard, within bounds, until the end of the
    /// stream. To drop the socket at once instead, with bytes unread, could reset the connection and take our
    /// close frame away before the peer has seen it (§7.1.1).
    Lingering,
    /// Drop the socket.
    Done,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether both close frames went their way before the connection did (RFC 6455 §7.1.4).
    pub clean: bool,
    /// The peer's code as §7.1.5 defines it: 1005 for a close frame without one, 1006 if no close frame came.
    pub code: CloseCode,
}

/// The close handshake of one connection. See the [module](self) for its phases.
#[derive(Debug, Clone)]
pub struct Closing {
    phase: Phase,
    /// `None` while open and when done.
    deadline: Option<Instant>,
    /// What the peer's close frame said, once it came.
    received: Option<CloseCode>,
    /// Both close frames exist and ours is written, and we had no complaint.
    clean: bool,
}

impl Default for Closing {
    fn default() -> Self {
        Self::new()
    }
}

impl Closing {
    /// An open connection.
    pub fn new() -> Self {
        Self { phase: Phase::Open, deadline: None, received: None, clean: false }
    }

    /// We close. Says whether our close frame is to be sent: only from an open connection, since a second one
    /// must not follow (RFC 6455 §5.5.1).
    #[must_use = "the close frame is to be sent if this is true"]
    pub fn close(&mut self, now: Instant) -> bool {
        let first = self.phase == Phase::Open;
        if first {
            self.enter(Phase::Awaiting, now);
        }
        first
    }

    /// The peer broke the protocol, so the connection fails (RFC 6455 §7.1.7): nothing it sends counts any
    /// more. Gives the close frame to send, if none was sent before.
    #[must_use = "the close frame is to be sent"]
    pub fn fail(&mut self, now: Instant, error: &ProtocolError) -> Option<CloseFrame> {
        let open = self.phase == Phase::Open;
        if open || self.phase == Phase::Awaiting {
            self.enter(Phase::Flushing, now);
        }
        open.then(|| CloseFrame::new(error.close_code(), error.to_string()))
    }

    /// The peer's close frame came. Gives the echo to send, if we did not close first: with the peer's code
    /// (RFC 6455 §5.5.1), without its reason, and without a body if the peer sent none.
    #[must_use = "the echo is to be sent"]
    pub fn receive(&mut self, now: Instant, frame: &CloseFrame) -> Option<CloseFrame> {
        let open = self.phase == Phase::Open;
        if open || self.phase == Phase::Awaiting {
            self.received = Some(frame.code);
            self.enter(Phase::Flushing, now);
        }
        open.then(|| CloseFrame::new(frame.code, ""))
    }

    /// Nothing is left to write. To be told after every complete write; it matters once the last word is
    /// spoken.
    pub fn flushed(&mut self) {
        if self.phase == Phase::Flushing {
            self.clean = self.received.is_some();
            self.phase = Phase::Lingering;
        }
    }

    /// The peer's half of the stream ended, or the stream broke.
    pub fn ended(&mut self) {
        self.phase = Phase::Done;
        self.deadline = None;
    }

    /// Time passed: a connection past its [`deadline`](Self::deadline) is done.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.ended();
        }
    }

    /// What is to be done now.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When to call [`tick`](Self::tick): by then the connection is to be gone. `None` while open and when
    /// done.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How the connection ended, once it is [`Done`](Phase::Done).
    pub fn outcome(&self) -> Option<Outcome> {
        (self.phase == Phase::Done)
            .then(|| Outcome { clean: self.clean, code: self.received.unwrap_or(CloseCode::Abnormal) })
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.deadline.get_or_insert(now + CLOSE_TIMEOUT);
    }
}

/// Whether a code may stand in a close frame (RFC 6455 §7.4 and the IANA registry it opens): not the ones
/// which only describe (1005, 1006, 1015), not the unassigned ones up to 2999, and nothing outside 1000 to
/// 4999.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests;
