//! What rooms tell a session: that there is something to read, never what.

use super::direct::{Direct, Outlet};
use crate::{Address, CloseReason, Position, Transport, hub::Runs, sync::Mutex};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{collections::VecDeque, fmt, sync::Arc, task::Waker};

/// What rooms tell a session. Bounded by the session's subscriptions: each has one bit.
#[repr(C)] // what is needed to serve it comes first, and so from memory in two lines of the cache
pub(crate) struct Mailbox {
    direct: Direct,
    transport: Arc<dyn Transport>,
    state: Mutex<State>,
    /// Where its client is.
    address: Option<Address>,
}

#[derive(Debug, Default)]
struct State {
    /// A bit for each subscription: whether it has something to read.
    ready: SmallVec<[u64; 2]>,
    waker: Option<Waker>,
    close: Option<CloseReason>,
    /// Whether the session is out of rooms, which its node knows.
    revoked: bool,
    /// No session of its node has had the same lately. It stands here because here is a place for it.
    serial: u32,
}

/// What had been told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) some: bool,
    pub(crate) revoked: bool,
    pub(crate) close: Option<CloseReason>,
}

impl Mailbox {
    pub(crate) fn new(transport: Arc<dyn Transport>, address: Option<Address>, serial: u32) -> Self {
        let state = State { serial, ..State::default() };
        Self { direct: Direct::default(), transport, state: Mutex::new(state), address }
    }

    pub(crate) fn address(&self) -> Option<Address> {
        self.address
    }

    pub(crate) fn serial(&self) -> u32 {
        self.state.lock().serial
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Lends the session's cursors, by the serial numbers of their rooms, to whoever serves those.
    pub(crate) fn lend(&self, outlet: &Arc<impl Outlet>, cursors: impl Iterator<Item = (u64, Position)>) {
        self.direct.lend(outlet, cursors);
    }

    /// Takes the cursors back. What is answered must be written before anything else.
    pub(crate) fn take_back(&self, moved: impl FnMut(u64, Position)) -> Bytes {
        self.direct.take_back(moved)
    }

    /// See [`Outlet::warm`].
    pub(crate) fn warm(&self) {
        self.direct.warm();
    }

    /// Serves a subscription: writes what is new in its room, or leaves word for the session. Then it answers whom
    /// to wake.
    pub(crate) fn serve(&self, subscription: usize, runs: &mut Runs<'_>) -> Option<Waker> {
        let mut wake = None;
        let served = self.direct.offer(self.transport.encoder(), runs, &mut wake);
        // Both are the owner's.
        if served { wake } else { self.mark(subscription).or(wake) }
    }

    /// There is something to read for a subscription. Answers whom to wake, once the caller holds no lock.
    pub(crate) fn mark(&self, subscription: usize) -> Option<Waker> {
        let mut state = self.state.lock();
        // If it was set already, whoever set it has taken the waker.
        if state.set(subscription) { state.waker.take() } else { None }
    }

    /// There is still something to read for a subscription, says the session, which takes what was told before it
    /// waits.
    pub(crate) fn put_back(&self, subscription: usize) {
        self.state.lock().set(subscription);
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        let waker = {
            let mut state = self.state.lock();
            state.close.get_or_insert(reason);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// The session is out of rooms: it asks its node for which.
    pub(crate) fn revoke(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.revoked = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// What comes before anything to read: whether the session is out of rooms, which is told once, and why it is to end.
    pub(crate) fn take_urgent(&self) -> (bool, Option<CloseReason>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.revoked), state.close)
    }

    /// Why the session is to end, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.state.lock().close
    }

    /// Why the session is to end, if it is; if not, `waker` is woken at the next word, which may be another.
    pub(crate) fn wait_for_close(&self, waker: &Waker) -> Option<CloseReason> {
        let mut state = self.state.lock();
        if state.close.is_none() && !state.waker.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.close
    }

    /// Whether anything was told, which stays; if nothing, `waker` is woken at the next word.
    pub(crate) fn is_told(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let told = state.close.is_some() || state.revoked || state.ready.iter().any(|bits| *bits != 0);
        if !told && !state.waker.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        told
    }

    /// Takes what was told; if nothing, `waker` is woken at the next word. The reason to close stays.
    pub(crate) fn take(&self, ready: &mut VecDeque<usize>, waker: &Waker) -> Told {
        let mut state = self.state.lock();
        let State { ready: bits, waker: stored, close, revoked, .. } = &mut *state;
        let before = ready.len();
        for (word, bits) in bits.iter_mut().enumerate() {
            while *bits != 0 {
                ready.push_back(word * 64 + bits.trailing_zeros() as usize);
                *bits &= *bits - 1;
            }
        }
        let told = Told { some: ready.len() > before, revoked: std::mem::take(revoked), close: *close };
        if !told.some && !told.revoked && !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            *stored = Some(waker.clone());
        }
        told
    }
}

impl State {
    /// Sets the bit of a subscription. Answers whether it was not set.
    fn set(&mut self, subscription: usize) -> bool {
        let (word, bit) = (subscription / 64, 1 << (subscription % 64));
        if self.ready.len() <= word {
            self.ready.resize(word + 1, 0);
        }
        let before = self.ready[word];
        self.ready[word] |= bit;
        before & bit == 0
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("transport", &self.transport.name()).finish_non_exhaustive()
    }
}
