//! Who waits for a connection: up to one reader and one writer, which may be two tasks.
//!
//! A stream remembers one waker for each direction, but either half of a split socket reads and writes: a reader
//! answers pings, a writer sets the close timer going. So where there are two tasks the stream is given a waker that
//! wakes both; otherwise one half could take over the wake-up of the other and be dropped with it. Most sockets are
//! one task's, which waits by itself.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

/// Who waits.
#[derive(Debug, Default)]
pub(super) enum Wakers {
    #[default]
    None,
    One(Waker),
    /// Two were seen, so it may be two from now on.
    Two(Arc<Both>),
}

/// A half of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Half {
    Reader,
    Writer,
}

impl Wakers {
    /// A half is about to wait. Gives the waker to wait with, if not its own.
    #[inline]
    pub(super) fn wait(&mut self, half: Half, waker: &Waker) -> Option<Waker> {
        match self {
            Self::One(one) if one.will_wake(waker) => None,
            _ => self.wait_anew(half, waker),
        }
    }

    fn wait_anew(&mut self, half: Half, waker: &Waker) -> Option<Waker> {
        match self {
            Self::None => {
                *self = Self::One(waker.clone());
                return None;
            }
            Self::One(one) => {
                let both = Both::default();
                // The stream may still have it, of either half; this half is the other's in any case.
                match half {
                    Half::Reader => both.waiting().writer = Some(one.clone()),
                    Half::Writer => both.waiting().reader = Some(one.clone()),
                }
                *self = Self::Two(Arc::new(both));
            }
            Self::Two(_) => {}
        }
        let Self::Two(both) = self else { return None };
        let mut waiting = both.waiting();
        set(if let Half::Reader = half { &mut waiting.reader } else { &mut waiting.writer }, waker);
        drop(waiting);
        Some(Arc::clone(both).into())
    }

    /// Wakes whoever waits.
    pub(super) fn wake(&self) {
        match self {
            Self::None => {}
            Self::One(waker) => waker.wake_by_ref(),
            Self::Two(both) => both.wake_by_ref(),
        }
    }
}

/// Wakes two tasks.
#[derive(Debug, Default)]
pub(super) struct Both(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Both {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(slot) => slot.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Waiting { reader, writer } = mem::take(&mut *self.waiting());
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }
}
