//! A place where the hub leaves what is new for somebody who comes for it.

use super::Outlet;
use crate::sync::Mutex;
use bytes::Bytes;
use std::{fmt, io, mem, task::Waker};

/// An [`Outlet`] for what cannot be written to at any time, but asks when it can be: a response's body, a connection with TLS.
/// The hub leaves the bytes here and wakes whoever is to take them; while some are left, it leaves no more, and the
/// session's owner is told instead. The owner asks [whether it was told](crate::Session::poll_call) before it looks here: else a
/// client that is never done with what is left would not hear that it is out of a room.
#[derive(Default)]
pub struct Tray {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: Bytes,
    waker: Option<Waker>,
}

impl Tray {
    /// Takes what was left, all bytes of whole messages. If there is nothing, `waker` is woken when there is.
    ///
    /// Whoever has [taken the session back](crate::Session::take_back) looks here once more before it writes anything else.
    pub fn take(&self, waker: &Waker) -> Option<Bytes> {
        let mut state = self.state.lock();
        if !state.bytes.is_empty() {
            return Some(mem::take(&mut state.bytes));
        }
        if !state.waker.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        None
    }
}

impl Outlet for Tray {
    fn offer(&self, bytes: &Bytes, wake: &mut Option<Waker>) -> io::Result<usize> {
        let mut state = self.state.lock();
        if !state.bytes.is_empty() {
            return Ok(0);
        }
        state.bytes = bytes.clone();
        if let Some(waker) = state.waker.take() {
            *wake = Some(waker);
        }
        Ok(bytes.len())
    }
}

impl fmt::Debug for Tray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tray").finish_non_exhaustive()
    }
}
