//! How a connection ends.

use crate::{
    close::{CLOSE_TIMEOUT, CloseFrame, Closing, Phase},
    decode::ProtocolError,
};
use std::{future::Future, pin::Pin, task::Context};
use tokio::time::{Instant, Sleep, sleep_until};

/// The end of a connection, from when it has begun: each side may begin it, and there is a time for each way.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) closing: Closing,
    /// The peer has said its last word. What it asked for before that is still done.
    pub(super) leaving: Option<Leaving>,
    /// Until when a peer that took nothing, as the session was to end, has to have taken everything.
    patience: Option<Instant>,
    /// For the first of the times.
    timer: Option<Pin<Box<Sleep>>>,
    /// What was discarded while lingering.
    discarded: usize,
    /// The peer has ended its half of the stream, behind its close frame or its fault.
    pub(super) deserted: bool,
    pub(super) shut: bool,
}

/// How the peer leaves, and until when it is waited for what it has asked for.
pub(super) struct Leaving {
    pub(super) word: LastWord,
    deadline: Instant,
}

/// The last that came of a peer.
pub(super) enum LastWord {
    /// It ended its half of the stream.
    Nothing,
    Close(CloseFrame),
    /// What came broke a rule, and so nothing counts that follows it.
    Wrong(ProtocolError),
}

impl Ending {
    /// The peer sends nothing any more.
    pub(super) fn leave(&mut self, word: LastWord) {
        self.leaving.get_or_insert_with(|| Leaving { word, deadline: Instant::now() + CLOSE_TIMEOUT });
    }

    /// The peer takes nothing, and the session is to end.
    pub(super) fn lose_patience(&mut self) {
        self.patience.get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
    }

    /// The peer ends its half of the stream.
    pub(super) fn desert(&mut self) {
        match self.closing.phase() {
            Phase::Open => self.leave(LastWord::Nothing),
            _ if self.has_last_word() => self.deserted = true,
            _ => self.closing.ended(),
        }
    }

    /// Whether nothing the peer sends matters any more, but it may still wait for what we have to say.
    pub(super) fn has_last_word(&self) -> bool {
        match self.closing.phase() {
            Phase::Flushing => true,
            Phase::Lingering => !self.shut,
            _ => false,
        }
    }

    /// Whether all is said, and the peer is to be told.
    pub(super) fn is_to_shut(&self) -> bool {
        self.closing.phase() == Phase::Lingering && !self.shut
    }

    /// What the peer sends is thrown away, up to a bound.
    pub(super) fn discard(&mut self, len: usize) {
        self.discarded += len;
        if self.discarded > DISCARD {
            self.closing.ended();
        }
    }

    /// Ends what has taken too long to end. Answers whether anything has.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        let deadlines = [leaving, self.closing.deadline().map(Instant::from_std), self.patience];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        if self.patience == Some(deadline) {
            self.closing.ended();
        }
        self.closing.tick(deadline.into_std());
        true
    }
}

impl Leaving {
    pub(super) fn is_late(&self) -> bool {
        self.deadline <= Instant::now()
    }
}

/// What is read and thrown away while a peer takes our close frame, for at most as long as a close may take. Closed
/// with bytes unread, the connection is reset, and who sends a large message never sees why it is refused.
const DISCARD: usize = 16 << 20;
