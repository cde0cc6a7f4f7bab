//! Writing for a session that has nothing else to do, without waking its owner.
//!
//! A session that has read everything lends its cursors to the hub. Whoever serves a room then writes what is new
//! straight to the [`Outlet`] and moves the cursor. Anything but whole, successful writes of messages ends the loan:
//! the owner is woken, takes its cursors back, and goes on from there by itself.

use crate::{
    Encoder, Position,
    hub::{Run, Runs},
    sync::Mutex,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    task::Waker,
};

/// Where bytes for one client go at once, or not at all: a socket, as seen by somebody who cannot wait for it.
pub trait Outlet: Send + Sync + 'static {
    /// Writes as much as can be written without waiting, which may be nothing, and says how much that was. If somebody is to
    /// be woken for it, that is left in `wake`, for the caller holds a lock; it may be the owner of the session alone.
    ///
    /// # Errors
    /// The connection is broken. Its owner finds out by itself.
    fn offer(&self, bytes: &Bytes, wake: &mut Option<Waker>) -> io::Result<usize>;

    /// Reads from memory what [`offer`](Self::offer) is about to read. Called for many in a row, so that they are waited for
    /// together: between two writes the kernel leaves nothing in the near caches.
    ///
    /// Called at any time, lent or not, while a lock is held: it must do no more than that.
    fn warm(&self) {}
}

/// What a session has lent.
#[derive(Default)]
#[repr(C)] // in the order in which it is looked at
pub(super) struct Direct {
    /// There since the first loan, and the same in each. Beside the lock, so that it can be warmed without.
    outlet: OnceLock<Arc<dyn Outlet>>,
    loan: Mutex<Loan>,
}

#[derive(Default)]
struct Loan {
    /// None: nothing is lent. By the serial number of the room; a session is in a room once at most.
    cursors: SmallVec<[(u64, Position); 1]>,
    /// The rest of what was written in part; it comes before all else, and ends the loan. Empty: nothing could be written. Boxed,
    /// because that is rare.
    cut: Option<Box<Bytes>>,
}

impl Direct {
    /// Begins a loan.
    pub(super) fn lend(&self, outlet: &Arc<impl Outlet>, cursors: impl Iterator<Item = (u64, Position)>) {
        self.outlet.get_or_init(|| Arc::clone(outlet) as Arc<dyn Outlet>);
        let mut loan = self.loan.lock();
        debug_assert!(loan.cursors.is_empty() && loan.cut.is_none(), "what is lent cannot be lent again");
        loan.cursors.extend(cursors);
    }

    /// Ends a loan: gives every cursor to `moved`, and answers what must be written before anything else.
    pub(super) fn take_back(&self, mut moved: impl FnMut(u64, Position)) -> Bytes {
        let mut loan = self.loan.lock();
        loan.cursors.drain(..).for_each(|(room, cursor)| moved(room, cursor));
        loan.cut.take().map_or_else(Bytes::new, |cut| *cut)
    }

    /// See [`Outlet::warm`].
    pub(super) fn warm(&self) {
        if let Some(outlet) = self.outlet.get() {
            outlet.warm();
        }
    }

    /// Writes what is new in a room. Answers whether the session need not look for itself; `wake` is as in [`Outlet::offer`].
    pub(super) fn offer(&self, encoder: &dyn Encoder, runs: &mut Runs<'_>, wake: &mut Option<Waker>) -> bool {
        let mut loan = self.loan.lock();
        let Loan { cursors, cut } = &mut *loan;
        let (None, Some(outlet), serial) = (&cut, self.outlet.get(), runs.room().serial) else {
            return false;
        };
        let Some((_, cursor)) = cursors.iter_mut().find(|(room, _)| *room == serial) else { return false };
        loop {
            let (bytes, messages, to) = match runs.after(*cursor, encoder) {
                Run::Bytes { bytes, messages, to } => (bytes, *messages, *to),
                Run::Nothing => return true,
                Run::Session => return false,
            };
            match outlet.offer(bytes, wake) {
                Ok(written) if written == bytes.len() => {
                    *cursor = to;
                    runs.note_written(messages);
                }
                // Nothing has happened, and the owner waits until something can: until then nothing more is made for it.
                Ok(0) | Err(_) => {
                    *cut = Some(Box::default());
                    return false;
                }
                Ok(written) => {
                    *cursor = to;
                    *cut = Some(Box::new(bytes.slice(written..)));
                    runs.note_written(messages);
                    return false;
                }
            }
        }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}
