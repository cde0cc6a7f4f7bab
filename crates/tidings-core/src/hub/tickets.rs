//! Tickets: secrets that stand for who asked for them, once and soon.

use super::{Crowded, Node};
use crate::{Address, Denied, Identity, Limits, surplus::surplus};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The tickets of a node. A client needs one for each session, so there are as many as there may be sessions: in all, of an
/// address, and of a user. One that is used counts until it would have been too old.
#[derive(Default)]
pub(super) struct Tickets {
    good: HashMap<u128, Identity>,
    /// All that were issued lately, in order.
    issued: VecDeque<Issued>,
    addresses: HashMap<Address, usize>,
    users: HashMap<Arc<str>, usize>,
}

struct Issued {
    at: Instant,
    secret: u128,
    address: Option<Address>,
    user: Option<Arc<str>>,
}

impl Tickets {
    fn issue(
        &mut self,
        now: Instant,
        who: Identity,
        address: Option<Address>,
        limits: &Limits,
    ) -> Result<u128, Crowded> {
        self.trim(now);
        if self.issued.len() >= limits.sessions {
            return Err(Crowded::Node);
        }
        let held = |count: Option<&usize>| count.copied().unwrap_or_default();
        if address.is_some_and(|address| held(self.addresses.get(&address)) >= limits.address_sessions) {
            return Err(Crowded::Address { max: limits.address_sessions });
        }
        if who.name().is_some_and(|user| held(self.users.get(user)) >= limits.user_sessions) {
            return Err(Crowded::User { max: limits.user_sessions });
        }
        let user = who.name().map(Arc::<str>::from);
        if let Some(address) = address {
            *self.addresses.entry(address).or_default() += 1;
        }
        if let Some(user) = &user {
            *self.users.entry(Arc::clone(user)).or_default() += 1;
        }
        // From the generator that is seeded by the system: nobody guesses one of 2¹²⁸.
        let secret = rand::random();
        self.good.insert(secret, who);
        self.issued.push_back(Issued { at: now, secret, address, user });
        Ok(secret)
    }

    fn redeem(&mut self, now: Instant, secret: u128) -> Option<Identity> {
        self.trim(now);
        self.good.remove(&secret)
    }

    /// Makes those of a user, or of all who have a name, good for nothing.
    fn void(&mut self, user: Option<&str>) {
        if user.is_none_or(|user| self.users.contains_key(user)) {
            self.good.retain(|_, who| who.name().is_none() || user.is_some() && who.name() != user);
        }
    }

    /// Forgets those that are too old.
    fn trim(&mut self, now: Instant) {
        while let Some(first) = self.issued.front()
            && now.saturating_duration_since(first.at) >= AGE
            && let Some(Issued { secret, address, user, .. }) = self.issued.pop_front()
        {
            self.good.remove(&secret);
            if let Some(address) = address {
                super::sessions::take_one(&mut self.addresses, &address);
            }
            if let Some(user) = user {
                super::sessions::take_one(&mut self.users, &user);
            }
        }
        // A crowd comes back once in a while.
        if let Some(enough) = surplus(self.issued.capacity(), self.issued.len(), KEPT) {
            self.issued.shrink_to(enough);
            self.good.shrink_to(enough);
            self.addresses.shrink_to(enough);
            self.users.shrink_to(enough);
        }
    }
}

impl Node {
    /// A ticket for somebody.
    pub(super) fn ticket(&self, who: Identity, address: Option<Address>) -> Result<String, Crowded> {
        // Of a node that drains it would be good for nothing.
        let draining = self.sessions.lock().draining;
        let issued = if draining {
            Err(Crowded::Draining)
        } else {
            self.tickets.lock().issue(Instant::now(), who, address, &self.limits)
        };
        let secret = issued.inspect_err(|crowded| self.note_crowded(*crowded, address))?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(secret.to_be_bytes()))
    }

    /// Who asked for a ticket. It is good once.
    pub(super) fn redeem(&self, ticket: &str) -> Result<Identity, Denied> {
        let secret = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok().and_then(|bytes| bytes.try_into().ok());
        let who =
            secret.and_then(|secret| self.tickets.lock().redeem(Instant::now(), u128::from_be_bytes(secret)));
        let who =
            who.ok_or_else(|| Denied::unauthorized("the ticket is none, or was used, or is too old"))?;
        self.still(who)
    }

    /// Makes the tickets of a user, or of all users, good for nothing: they were given for what the gate said before.
    pub(super) fn forget_tickets(&self, user: Option<&str>) {
        self.tickets.lock().void(user);
    }

    pub(super) fn trim_tickets(&self, now: Instant) {
        self.tickets.lock().trim(now);
    }
}

/// For as long as it takes to open a connection with it, also where that is slow.
pub(super) const AGE: Duration = Duration::from_secs(30);
/// Places that are kept in any case.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hub, gate};

    fn hub(limits: Limits) -> Hub {
        Hub::builder().gate(gate::open()).limits(limits).build()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_half_a_minute() {
        let hub = hub(Limits::default());
        let ticket = || hub.ticket(Identity::user("alice"), None).unwrap();
        let (first, second, third) = (ticket(), ticket(), ticket());
        assert_eq!(first.len(), 22);
        assert!(first != second);
        assert_eq!(hub.redeem(&first).unwrap().name(), Some("alice"));
        assert!(matches!(hub.redeem(&first), Err(Denied::Unauthorized(_))));
        tokio::time::advance(AGE - Duration::from_millis(1)).await;
        assert_eq!(hub.redeem(&second).unwrap().name(), Some("alice"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(hub.redeem(&third).is_err());
        for bad in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", &"A".repeat(1_000), "\u{0}"] {
            assert!(hub.redeem(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_as_many_tickets_as_sessions_of_each_and_in_all() {
        let mut limits = Limits::default();
        (limits.sessions, limits.address_sessions, limits.user_sessions) = (5, 3, 2);
        let hub = hub(limits);
        let address = |last: u8| Address::of(std::net::IpAddr::from([192, 0, 2, last]));
        let ask = |user: &str, last| hub.ticket(Identity::user(user), address(last));
        let tickets = [ask("alice", 1), ask("alice", 2)].map(Result::unwrap);
        assert!(matches!(ask("alice", 3), Err(Crowded::User { max: 2 })));
        // To use one makes no place for another.
        hub.redeem(&tickets[0]).unwrap();
        assert!(matches!(ask("alice", 3), Err(Crowded::User { max: 2 })));
        assert!(ask("bob", 1).is_ok() && ask("bob", 1).is_ok());
        assert!(matches!(ask("carol", 1), Err(Crowded::Address { max: 3 })));
        assert!(ask("carol", 2).is_ok());
        assert!(matches!(ask("dave", 4), Err(Crowded::Node)));
        tokio::time::advance(AGE).await;
        assert!(ask("alice", 1).is_ok());
        let tickets = hub.node.tickets.lock();
        assert_eq!((tickets.issued.len(), tickets.good.len()), (1, 1));
        assert_eq!((tickets.users.len(), tickets.addresses.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_no_better_than_who_asked_for_it() {
        let hub = hub(Limits::default());
        let gone = Identity::user("alice").with_expiry(std::time::SystemTime::now());
        let ticket = hub.ticket(gone, None).unwrap();
        assert!(matches!(hub.redeem(&ticket), Err(Denied::Unauthorized(_))));
    }
}
