//! What was published, against what each client has heard.

use crate::PUBLISHERS;
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

/// What one publisher was told of where its events stand: the event `n` is at `n - 1`.
#[derive(Debug, Default)]
pub(crate) struct Stored(Mutex<Vec<u64>>);

impl Stored {
    /// The next event is stored there.
    pub(crate) fn push(&self, position: &str) {
        self.0.lock().expect("nobody panics with it").push(hash(position));
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.lock().expect("nobody panics with it").len() as u64
    }

    fn position(&self, number: u64) -> Option<u64> {
        self.0.lock().expect("nobody panics with it").get(number as usize - 1).copied()
    }
}

/// One event, as it is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) who: usize,
    /// From 1 on, one more each time.
    pub(crate) number: u64,
    /// Microseconds after the run began, when it was first tried to publish it.
    pub(crate) at: u64,
    pub(crate) last: bool,
}

impl Entry {
    pub(crate) fn to_json(self) -> Value {
        json!([self.who, self.number, self.at, self.last])
    }

    pub(crate) fn read(data: &Value) -> Option<Self> {
        let number = |at: usize| data[at].as_u64();
        let who = usize::try_from(number(0)?).ok().filter(|who| *who < PUBLISHERS)?;
        Some(Self { who, number: number(1)?, at: number(2)?, last: data[3].as_bool()? })
    }
}

/// What one client has heard in its room.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    heard: [Heard; PUBLISHERS],
    /// All events in their order, as one number, until a gap.
    order: u64,
    gaps: u64,
    /// Heard before the publisher was told that they are stored: no more than there are publishers.
    early: Vec<(usize, u64, u64)>,
}

/// Of one publisher.
#[derive(Debug, Default, Clone, Copy)]
struct Heard {
    /// The number of its newest event.
    last: u64,
    missed: u64,
    /// After a gap, until the next event: it may be another than the one after the last.
    told: Option<Told>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Some may be missing.
    Missing,
    /// Some may come again, too.
    Again,
}

impl Ledger {
    /// A gap was told.
    pub(crate) fn gap(&mut self, reason: &str) {
        self.gaps += 1;
        let told = if reason == "epoch" { Told::Again } else { Told::Missing };
        for heard in &mut self.heard {
            heard.told = Some(told);
        }
    }

    /// An event came, after which the cursor was this.
    pub(crate) fn event(&mut self, entry: Entry, position: &str, stored: &[Stored]) -> Result<(), String> {
        let heard = &mut self.heard[entry.who];
        let (last, told) = (heard.last, heard.told.take());
        match told {
            None if entry.number != last + 1 => {
                return Err(format!("{entry:?} after the number {last}, and no gap was told"));
            }
            Some(Told::Missing) if entry.number <= last => {
                return Err(format!("{entry:?} again, after the number {last}"));
            }
            _ => {}
        }
        heard.missed += entry.number.saturating_sub(last + 1);
        heard.last = entry.number;
        heard.ended = entry.last;
        let position = hash(position);
        if self.gaps == 0 {
            let mut order = DefaultHasher::new();
            (self.order, position).hash(&mut order);
            self.order = order.finish();
        }
        self.early.push((entry.who, entry.number, position));
        self.compare(stored)
    }

    /// Compares where events were heard with where they are stored, as far as that is known by now.
    fn compare(&mut self, stored: &[Stored]) -> Result<(), String> {
        let mut wrong = None;
        self.early.retain(|&(who, number, position)| match stored[who].position(number) {
            Some(known) if known == position => false,
            Some(_) => {
                wrong.get_or_insert_with(|| {
                    format!("the event {number} of {who} stands elsewhere than it was said")
                });
                false
            }
            None => true,
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Whether the last event of each publisher has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.heard.iter().all(|heard| heard.ended)
    }
}

/// Checks that each client of a room has heard all that was published, but for what it was told of, each event where the
/// publisher was told that it is, and all clients in one order.
pub(crate) fn agree(ledgers: &mut [Ledger], stored: &[Stored]) {
    for ledger in &mut *ledgers {
        ledger.compare(stored).unwrap_or_else(|why| panic!("{why}"));
        assert!(ledger.early.is_empty(), "heard, and never stored: {:?}", ledger.early);
        for (heard, stored) in ledger.heard.iter().zip(stored) {
            assert_eq!(heard.last, stored.len(), "{ledger:?}");
            assert!(heard.missed == 0 || ledger.gaps > 0, "{ledger:?}");
        }
    }
    let mut whole = ledgers.iter().filter(|ledger| ledger.gaps == 0).map(|ledger| ledger.order);
    if let Some(first) = whole.next() {
        assert!(whole.all(|order| order == first), "clients have heard the same events in another order");
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
