//! Who is in a room by this node.

use crate::Presence;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::time::Instant;

/// Who is in a room by this node. A machine without a clock.
#[derive(Debug, Default)]
pub(super) struct Part {
    users: BTreeMap<Arc<str>, Seats>,
    /// Users who had no session, each once, and when they are to be looked at again.
    leaving: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Seats {
    sessions: u32,
    /// Until when a user without a session is a member, if it is one of those.
    until: Option<Instant>,
    /// Whether it is among those who leave.
    queued: bool,
}

impl Part {
    /// A session of a user is in the room. Answers whether the user was not.
    pub(super) fn sit(&mut self, user: &str) -> bool {
        if let Some(seats) = self.users.get_mut(user) {
            seats.sessions += 1;
            seats.until = None;
            return false;
        }
        self.users.insert(user.into(), Seats { sessions: 1, ..Seats::default() });
        true
    }

    /// A session of a user is out of it. Answers whether it was the last.
    pub(super) fn rise(&mut self, user: &str, now: Instant, presence: Presence) -> bool {
        let Some((user, _)) = self.users.get_key_value(user) else { return false };
        let user = Arc::clone(user);
        let Some(seats) = self.users.get_mut(&user) else { return false };
        seats.sessions = seats.sessions.saturating_sub(1);
        if seats.sessions > 0 {
            return false;
        }
        let until = now + presence.grace_time();
        seats.until = Some(until);
        if !std::mem::replace(&mut seats.queued, true) {
            self.leaving.push_back((until, user));
        }
        true
    }

    /// Lets those go whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.next().is_some_and(|at| at <= now) {
            let Some((_, user)) = self.leaving.pop_front() else { return };
            let Some(seats) = self.users.get_mut(&user) else { continue };
            seats.queued = false;
            match seats.until {
                None => {}
                Some(until) if until <= now => drop(self.users.remove(&user)),
                // It was there meanwhile, and has gone again.
                Some(until) => {
                    seats.queued = true;
                    self.leaving.push_back((until, user));
                }
            }
        }
        if self.users.is_empty() {
            *self = Self::default();
        }
    }

    /// When the next may have to go.
    pub(super) fn next(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// How many there are, and the first of them by name.
    pub(super) fn list(&self, presence: Presence) -> (usize, Vec<String>) {
        let mut bytes = 0;
        let fits = |user: &&Arc<str>| {
            let more = bytes + user.len() + QUOTES;
            let fits = more <= LIST;
            bytes = if fits { more } else { bytes };
            fits
        };
        // A name that is too long for any list keeps no other out of it.
        let users = self.users.keys().filter(fits).take(presence.most_listed());
        (self.users.len(), users.map(|user| user.to_string()).collect())
    }
}

/// Bytes of a list of users: what any broker carries in one message.
const LIST: usize = 16 << 10;
/// Bytes around a name.
const QUOTES: usize = 3;

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    const PRESENCE: fn() -> Presence = Presence::new;

    fn count(part: &Part) -> usize {
        part.list(PRESENCE()).0
    }

    #[test]
    fn a_user_with_a_session_left_or_time_to_come_back_stays() {
        let (mut part, now) = (Part::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(part.sit("ann"));
        assert!(!part.sit("ann"));
        assert!(!part.rise("ann", now, PRESENCE()));
        part.expire(now + 60 * second);
        assert_eq!((count(&part), part.next()), (1, None));
        assert!(part.rise("ann", now, PRESENCE()));
        assert!(!part.sit("ann"), "she is back in time");
        part.expire(now + 60 * second);
        assert_eq!(count(&part), 1);
        part.rise("ann", now + 60 * second, PRESENCE());
        part.expire(now + 64 * second);
        assert_eq!(count(&part), 1);
        part.expire(now + 65 * second);
        assert!(part.is_empty());
    }

    #[test]
    fn one_who_comes_and_goes_waits_once() {
        let (mut part, now) = (Part::default(), Instant::now());
        for n in 0..100 {
            part.sit("ann");
            part.rise("ann", now + Duration::from_millis(n), PRESENCE());
        }
        assert_eq!(part.leaving.len(), 1);
        part.expire(now + Duration::from_millis(5_050));
        assert_eq!((count(&part), part.leaving.len()), (1, 1), "by its last going");
        part.expire(now + Duration::from_millis(5_099));
        assert!(part.is_empty() && part.leaving.is_empty());
    }

    #[test]
    fn a_list_is_bounded_in_users_and_bytes() {
        let mut part = Part::default();
        for n in 0..500 {
            part.sit(&format!("{n:03}"));
        }
        let (count, users) = part.list(PRESENCE().listed(10));
        assert_eq!((count, users.len(), &*users[9]), (500, 10, "009"));
        for n in 0..500 {
            part.sit(&format!("{n:0200}"));
        }
        let (_, users) = part.list(PRESENCE().listed(1_000));
        assert!(users.iter().map(|user| user.len() + 3).sum::<usize>() <= LIST);
    }
}
