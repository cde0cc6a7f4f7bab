//! What was published, against what was heard.

use crate::{Client, Heard};
use std::collections::BTreeSet;

/// What one subscriber heard of a stream of rising numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// The numbers, in the order they came.
    pub numbers: Vec<u64>,
    /// How many gaps were told.
    pub gaps: usize,
}

impl Ledger {
    /// Takes down what was heard.
    ///
    /// # Panics
    /// If an event's payload is not a number.
    pub fn note(&mut self, heard: &Heard) {
        match heard {
            Heard::Event { data, .. } => self.numbers.push(data.as_u64().expect("the payload is a number")),
            Heard::Gap { .. } => self.gaps += 1,
            Heard::Joined { .. } | Heard::Other(_) => {}
        }
    }

    /// The last number.
    pub fn last(&self) -> u64 {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// Checks that every number from 1 to `last` came once and in order, and no gap was told.
    ///
    /// # Panics
    /// If not, with the first place that is wrong.
    pub fn assert_equal(&self, last: u64) {
        for (at, number) in self.numbers.iter().enumerate() {
            let want = at as u64 + 1;
            assert_eq!(*number, want, "after {:?}", &self.numbers[at.saturating_sub(3)..at]);
        }
        assert_eq!((self.last(), self.gaps), (last, 0), "the last number and the gaps");
    }
}

/// What a client hears after the event `before` up to `last`, whose payloads are arrays that begin with their numbers: each
/// event in order, and a gap before the next one exactly where some are missing. Answers how many are, and the reasons.
///
/// # Panics
/// If it hears anything else, or its stream ends.
pub async fn hear_out(mut client: Client, mut before: u64, last: u64) -> (u64, BTreeSet<String>) {
    let (mut missed, mut told, mut reasons) = (0, false, BTreeSet::new());
    while before < last {
        match client.next().await {
            Some(Heard::Gap { reason, .. }) => {
                told = true;
                reasons.insert(reason);
            }
            Some(Heard::Event { data, .. }) => {
                let number = data[0].as_u64().expect("a number");
                assert!(number > before, "{number} after {before}");
                let skipped = number - before - 1;
                assert_eq!(skipped > 0, std::mem::take(&mut told), "{number} after {before}");
                missed += skipped;
                before = number;
            }
            other => panic!("{other:?}"),
        }
    }
    (missed, reasons)
}
