//! What was read of a peer that asks for more than is done at once.

use std::collections::VecDeque;
use tidings_core::{Command, CommandError};

/// What was read and not done yet. Empty, it holds no memory.
#[derive(Default)]
pub(super) struct Inbox(Option<Box<Waiting>>);

/// What waits, if anything does.
#[derive(Default)]
struct Waiting {
    /// Commands that the session has not taken yet, with the length of each.
    commands: VecDeque<(Result<Command, CommandError>, usize)>,
    /// Bytes of the commands.
    bytes: usize,
    /// What was read behind the commands, not yet decoded: at most one read.
    unread: Vec<u8>,
}

impl Inbox {
    /// Bytes that were read already.
    pub(super) fn new(read: &[u8]) -> Self {
        let mut inbox = Self::default();
        inbox.keep(read);
        inbox
    }

    pub(super) fn push(&mut self, command: Result<Command, CommandError>, len: usize) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += len;
        waiting.commands.push_back((command, len));
    }

    pub(super) fn pop(&mut self) -> Option<Result<Command, CommandError>> {
        let waiting = self.0.as_mut()?;
        let (command, len) = waiting.commands.pop_front()?;
        waiting.bytes -= len;
        self.shrink();
        Some(command)
    }

    pub(super) fn has_commands(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| !waiting.commands.is_empty())
    }

    /// Whether as many commands wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.commands.len() >= COMMANDS || waiting.bytes >= BYTES)
    }

    /// What waits will not be done any more.
    pub(super) fn drop_commands(&mut self) {
        while self.pop().is_some() {}
    }

    /// Keeps what is to be decoded later, of which nothing may be there.
    pub(super) fn keep(&mut self, unread: &[u8]) {
        if !unread.is_empty() {
            self.0.get_or_insert_default().unread = unread.to_vec();
        }
    }

    /// What is to be decoded, if anything is.
    pub(super) fn take_unread(&mut self) -> Option<Vec<u8>> {
        let unread = std::mem::take(&mut self.0.as_mut()?.unread);
        self.shrink();
        Some(unread).filter(|unread| !unread.is_empty())
    }

    fn shrink(&mut self) {
        self.0.take_if(|waiting| waiting.commands.is_empty() && waiting.unread.is_empty());
    }
}

/// Commands that may wait for the one under way, so that what comes behind them, such as the answer to a ping, is
/// heard.
const COMMANDS: usize = 64;
/// Bytes of such commands, passed by at most one.
const BYTES: usize = 64 << 10;
