//! Who waits for a connection: up to one reader and one writer, which may be two tasks.
//!
//! A stream remembers one waker for each direction, but either half of a split socket reads and writes: a reader
//! answers pings, a writer sets the close timer going. So the stream is given a waker that wakes both; otherwise
//! one half could take over the wake-up of the other and be dropped with it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

#[derive(Debug, Default)]
pub(super) struct Wakers {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wakers {
    pub(super) fn wait_as_reader(&self, waker: &Waker) {
        set(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).reader, waker);
    }

    pub(super) fn wait_as_writer(&self, waker: &Waker) {
        set(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).writer, waker);
    }
}

fn set(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(slot) => slot.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Waiting { reader, writer } =
            mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }
}
