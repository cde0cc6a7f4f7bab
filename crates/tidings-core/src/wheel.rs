//! One timer for all connections of a node.
//!
//! A connection's heartbeat and time-out are looked at rarely, put off with almost every message, and need no
//! precision. So they are not timers: a [`Wheel`] has one, and a slot for each of its next ticks, in which an
//! [`Alarm`] leaves its waker. To put a deadline off costs nothing, for an alarm that rings too early is set again.

use crate::sync::Mutex;
use slab::Slab;
use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Wakes tasks, at ticks of up to a second. A handle; cloning it is cheap.
///
/// It runs on the runtime of whoever polls an alarm, while there are any.
#[derive(Clone)]
pub struct Wheel {
    shared: Arc<Shared>,
}

struct Shared {
    /// In nanoseconds.
    tick: u64,
    start: Instant,
    /// The tick that it is, while the wheel turns.
    now: AtomicU64,
    /// The tick up to which slots were emptied.
    emptied: AtomicU64,
    slots: [Mutex<Slab<Entry>>; SLOTS],
    /// Entries in all slots.
    entries: AtomicUsize,
    driven: AtomicBool,
}

struct Entry {
    at: u64,
    waker: Waker,
}

/// A task's place in a [`Wheel`]. Dropping it gives the place up.
pub struct Alarm {
    wheel: Wheel,
    /// Where the waker is, if it is anywhere: the tick, which is none that has been, and the place in its slot.
    set: Option<(NonZeroU64, usize)>,
    waker: Option<Waker>,
}

impl Wheel {
    /// A wheel for deadlines that are at least `shortest` away. Its ticks are a sixteenth of that, at most a second
    /// and at least a millisecond.
    pub fn new(shortest: Duration) -> Self {
        let tick = (shortest / 16).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let shared = Shared {
            tick: tick.as_nanos() as u64,
            start: Instant::now(),
            now: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            slots: std::array::from_fn(|_| Mutex::default()),
            entries: AtomicUsize::new(0),
            driven: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The tick that it is now. It costs no look at the clock while the wheel runs.
    pub fn now(&self) -> u64 {
        if self.shared.driven.load(SeqCst) { self.shared.now.load(SeqCst) } else { self.shared.clock() }
    }

    /// A duration in ticks, rounded up, and at least one: what is due again at once would never let go of its thread.
    pub fn ticks(&self, duration: Duration) -> u64 {
        nanos(duration).map_or(NEVER, |nanos| nanos.div_ceil(self.shared.tick).max(1))
    }

    /// An alarm that is not set.
    pub fn alarm(&self) -> Alarm {
        Alarm { wheel: self.clone(), set: None, waker: None }
    }
}

impl Alarm {
    /// Ready when the wheel has come to the tick `at`; until then the task is woken by then. It may be woken before.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: u64) -> Poll<()> {
        let shared = &self.wheel.shared;
        shared.start();
        let now = shared.now.load(SeqCst);
        if now >= at {
            return Poll::Ready(());
        }
        // Farther than the wheel reaches is looked at again when it has turned.
        let due = at.min(now + SLOTS as u64 - 1);
        let stays = self.set.is_some_and(|(set, _)| (now + 1..=due).contains(&set.get()))
            && self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if stays {
            return Poll::Pending;
        }
        self.unset();
        let insert = |at| (at, self.wheel.shared.insert(due, cx.waker().clone()));
        self.set = NonZeroU64::new(due).map(insert);
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        // It may have stopped before there was an entry, or have come there in between, and past the entry.
        self.wheel.shared.start();
        if self.wheel.shared.now.load(SeqCst) >= due {
            self.unset();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The wheel.
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    fn unset(&mut self) {
        let Some((at, key)) = self.set.take() else { return };
        let (at, shared) = (at.get(), &self.wheel.shared);
        let mut slot = shared.slot(at).lock();
        // It may have been taken out, and its place may be another's, which is for a later tick.
        if slot.get(key).is_some_and(|entry| entry.at == at) {
            slot.remove(key);
            shared.entries.fetch_sub(1, SeqCst);
            shrink(&mut slot);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

impl Shared {
    fn clock(&self) -> u64 {
        nanos(self.start.elapsed()).map_or(NEVER, |nanos| nanos / self.tick)
    }

    fn slot(&self, at: u64) -> &Mutex<Slab<Entry>> {
        &self.slots[at as usize % SLOTS]
    }

    fn insert(&self, at: u64, waker: Waker) -> usize {
        self.entries.fetch_add(1, SeqCst);
        self.slot(at).lock().insert(Entry { at, waker })
    }

    /// Sees to it that somebody turns the wheel.
    fn start(self: &Arc<Self>) {
        if self.driven.load(SeqCst) {
            return;
        }
        // Before anybody takes it for the time.
        self.now.fetch_max(self.clock(), SeqCst);
        if !self.driven.swap(true, SeqCst) {
            tokio::spawn(drive(Driving { shared: Arc::clone(self), ours: true }));
        }
    }

    /// The entries stay: an alarm that is looked at again takes its own for still there.
    fn wake_all(&self) {
        let mut woken = Vec::new();
        for slot in &self.slots {
            woken.extend(slot.lock().iter().map(|(_, entry)| entry.waker.clone()));
        }
        woken.into_iter().for_each(Waker::wake);
    }

    fn advance(&self, now: u64, woken: &mut Vec<Waker>) {
        self.now.fetch_max(now, SeqCst);
        let emptied = self.emptied.fetch_max(now, SeqCst);
        for at in (emptied.max(now.saturating_sub(SLOTS as u64)) + 1)..=now {
            let mut slot = self.slot(at).lock();
            let due: Vec<_> = slot.iter().filter(|(_, entry)| entry.at <= now).map(|(key, _)| key).collect();
            self.entries.fetch_sub(due.len(), SeqCst);
            woken.extend(due.into_iter().map(|key| slot.remove(key).waker));
            shrink(&mut slot);
        }
        woken.drain(..).for_each(Waker::wake);
    }
}

/// A slot that many connections were in at once gives their place back.
fn shrink(slot: &mut Slab<Entry>) {
    if slot.is_empty() && slot.capacity() > KEPT {
        *slot = Slab::new();
    }
}

/// None of what is centuries. A division of 128 bits would cost more than the rest of a look at an alarm.
fn nanos(duration: Duration) -> Option<u64> {
    duration.as_nanos().try_into().ok()
}

/// The right to turn a wheel; given up with the task, also if its runtime ends.
struct Driving {
    shared: Arc<Shared>,
    ours: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if self.ours {
            self.shared.driven.store(false, SeqCst);
            // Tasks of another runtime may still be there: whoever polls next sets the wheel going again.
            self.shared.wake_all();
        }
    }
}

async fn drive(mut driving: Driving) {
    let shared = Arc::clone(&driving.shared);
    let mut interval = interval(Duration::from_nanos(shared.tick));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut woken = Vec::new();
    while driving.ours {
        interval.tick().await;
        shared.advance(shared.clock(), &mut woken);
        woken.shrink_to(KEPT);
        if shared.entries.load(SeqCst) == 0 {
            shared.driven.store(false, SeqCst);
            // An alarm that was set in between has found the wheel turning, or has set it going again.
            driving.ours = shared.entries.load(SeqCst) > 0 && !shared.driven.swap(true, SeqCst);
        }
    }
}

impl fmt::Debug for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { tick, entries, .. } = &*self.shared;
        f.debug_struct("Wheel")
            .field("tick", &Duration::from_nanos(*tick))
            .field("entries", entries)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("set", &self.set).finish_non_exhaustive()
    }
}

/// So far away that sums of it are no time either.
const NEVER: u64 = u64::MAX / 4;
/// Ticks that the wheel reaches ahead.
const SLOTS: usize = 64;
/// Places that a slot keeps when it is empty.
const KEPT: usize = 64;

#[cfg(test)]
mod tests;
