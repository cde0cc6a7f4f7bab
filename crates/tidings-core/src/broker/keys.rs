//! Idempotency keys of a room, for a while.

use crate::{Position, surplus::surplus};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Which keys were used lately, and for which position. Bounded by count and age.
#[derive(Debug, Default)]
pub(super) struct Keys {
    positions: HashMap<Arc<str>, Position>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Keys {
    pub(super) fn find(&mut self, key: &str, now: Instant) -> Option<Position> {
        self.trim(now);
        self.positions.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: &str, position: Position, now: Instant) {
        let key: Arc<str> = key.into();
        self.positions.insert(Arc::clone(&key), position);
        self.order.push_back((now, key));
        self.trim(now);
    }

    pub(super) fn trim(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            if self.order.len() <= COUNT && now.saturating_duration_since(*at) <= WINDOW {
                break;
            }
            self.positions.remove(key);
            self.order.pop_front();
        }
        // A burst must not hold its memory for as long as the room lives.
        if let Some(enough) = surplus(self.order.capacity(), self.order.len(), KEPT) {
            self.order.shrink_to(enough);
            self.positions.shrink_to(enough);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Longer than any client keeps retrying one request.
const WINDOW: Duration = Duration::from_secs(300);
/// Places that are kept in any case.
const KEPT: usize = 64;
/// About a megabyte of keys a room.
const COUNT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_by_count_and_age() {
        let now = Instant::now();
        let mut keys = Keys::default();
        for n in 0..=COUNT {
            keys.insert(&n.to_string(), Position::UNKNOWN, now);
        }
        assert_eq!(keys.find("0", now), None, "the oldest made room");
        assert!(keys.find("1", now).is_some());
        assert!(keys.find("1", now + WINDOW).is_some());
        assert_eq!(keys.find("1", now + WINDOW + Duration::from_millis(1)), None);
        assert!(keys.is_empty() && keys.positions.is_empty());
        assert!(
            keys.order.capacity() <= KEPT && keys.positions.capacity() <= KEPT,
            "it gives its memory back"
        );
    }
}
