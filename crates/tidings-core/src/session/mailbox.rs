//! What rooms tell a session: that there is something to read, never what.

use crate::{CloseReason, sync::Mutex};
use std::{collections::VecDeque, task::Waker};

/// What rooms tell a session. Bounded by the session's subscriptions: each is on the list once at most.
#[derive(Debug)]
pub(crate) struct Mailbox {
    transport: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<usize>,
    /// A bit for each subscription: whether it is on the list.
    listed: Vec<u64>,
    waker: Option<Waker>,
    close: Option<CloseReason>,
}

/// What had been told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) some: bool,
    pub(crate) close: Option<CloseReason>,
}

impl Mailbox {
    pub(crate) fn new(transport: &'static str) -> Self {
        Self { transport, state: Mutex::default() }
    }

    pub(crate) fn transport(&self) -> &'static str {
        self.transport
    }

    /// There is something to read for a subscription. Answers whom to wake, once the caller holds no lock.
    pub(crate) fn mark(&self, subscription: usize) -> Option<Waker> {
        let mut state = self.state.lock();
        let (word, bit) = (subscription / 64, 1 << (subscription % 64));
        if state.listed.len() <= word {
            state.listed.resize(word + 1, 0);
        }
        if state.listed[word] & bit != 0 {
            // Whoever put it there has taken the waker.
            return None;
        }
        state.listed[word] |= bit;
        state.ready.push(subscription);
        state.waker.take()
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        let waker = {
            let mut state = self.state.lock();
            state.close.get_or_insert(reason);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Why the session is to end, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.state.lock().close
    }

    /// Takes what was told; if nothing, `waker` is woken at the next word. The reason to close stays.
    pub(crate) fn take(&self, ready: &mut VecDeque<usize>, waker: &Waker) -> Told {
        let mut state = self.state.lock();
        let State { ready: listed, listed: bits, waker: stored, close } = &mut *state;
        let told = Told { some: !listed.is_empty(), close: *close };
        if told.some {
            for subscription in listed.drain(..) {
                bits[subscription / 64] &= !(1 << (subscription % 64));
                ready.push_back(subscription);
            }
        } else if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            *stored = Some(waker.clone());
        }
        told
    }
}
