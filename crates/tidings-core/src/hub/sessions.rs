//! The sessions of a node: how many there may be, and whose they are.

use super::{
    Node,
    expiry::{Expiries, Tick},
};
use crate::{Address, CloseReason, Identity, JoinError, Limits, session::Mailbox, surplus::surplus};
use slab::Slab;
use smallvec::SmallVec;
use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// The sessions of a node.
#[derive(Default)]
pub(super) struct Sessions {
    all: Slab<Enrolled>,
    pub(super) expiries: Expiries,
    /// How many there are of each transport; none has none.
    pub(super) by_transport: HashMap<&'static str, usize>,
    /// Those of clients.
    pub(super) outside: usize,
    /// What each address has; one without sessions has nothing.
    addresses: HashMap<Address, Held>,
    /// Which each named user has, by their keys; none has none.
    users: HashMap<Box<str>, SmallVec<[usize; 2]>>,
    /// The rooms that sessions are out of, until they hear of it.
    revoked: HashMap<usize, Vec<Arc<str>>>,
    /// No client is given one any more.
    pub(super) draining: bool,
    /// What a new session is told at once.
    pub(super) closing: Option<CloseReason>,
}

/// What an address has.
#[derive(Default)]
struct Held {
    sessions: usize,
    /// The rooms that these are in or about to enter, each counted for each session.
    rooms: usize,
}

/// A session of a node.
struct Enrolled {
    mailbox: Arc<Mailbox>,
    expires: Option<Tick>,
}

/// Why a client is given no session: there are as many as a limit says, or there are to be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Crowded {
    /// Those of the node ([`Limits::sessions`]).
    #[error("the server has as many sessions as it takes")]
    Node,
    /// Those of an address ([`Limits::address_sessions`]).
    #[error("there are {max} sessions from this address, and may be no more")]
    Address {
        /// The limit.
        max: usize,
    },
    /// Those of a user ([`Limits::user_sessions`]).
    #[error("this user has {max} sessions, and may have no more")]
    User {
        /// The limit.
        max: usize,
    },
    /// The node is [draining](crate::Hub::drain).
    #[error("the server shuts down; another one, or the next one, goes on")]
    Draining,
}

impl Crowded {
    /// The code of the protocol.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Node => "busy",
            Self::Address { .. } | Self::User { .. } => "too_many_sessions",
            Self::Draining => "unavailable",
        }
    }
}

impl Sessions {
    fn enroll(
        &mut self,
        mailbox: Arc<Mailbox>,
        who: Option<&Identity>,
        limits: &Limits,
    ) -> Result<usize, Crowded> {
        // The application's own are not counted.
        if let Some(who) = who {
            let (address, user) = (mailbox.address(), who.name());
            if self.draining {
                return Err(Crowded::Draining);
            }
            if self.outside >= limits.sessions {
                return Err(Crowded::Node);
            }
            let held =
                address.and_then(|address| self.addresses.get(&address)).map_or(0, |held| held.sessions);
            if address.is_some() && held >= limits.address_sessions {
                return Err(Crowded::Address { max: limits.address_sessions });
            }
            if let Some(user) = user {
                self.has_place_for(user, limits)?;
            }
            self.outside += 1;
            if let Some(address) = address {
                self.addresses.entry(address).or_default().sessions += 1;
            }
        }
        if let Some(reason) = self.closing {
            mailbox.close(reason);
        }
        *self.by_transport.entry(mailbox.transport().name()).or_default() += 1;
        let session = self.all.insert(Enrolled { mailbox, expires: None });
        if let Some(user) = who.and_then(Identity::name) {
            self.users.entry(user.into()).or_default().push(session);
        }
        Ok(session)
    }

    fn has_place_for(&self, user: &str, limits: &Limits) -> Result<(), Crowded> {
        let (held, max) = (self.users.get(user).map_or(0, SmallVec::len), limits.user_sessions);
        if held >= max { Err(Crowded::User { max }) } else { Ok(()) }
    }

    /// A session that was nobody's in particular is a user's.
    fn give_to(&mut self, user: &str, session: usize, limits: &Limits) -> Result<(), Crowded> {
        self.has_place_for(user, limits)?;
        self.users.entry(user.into()).or_default().push(session);
        Ok(())
    }

    /// Says how long a session has, if not for ever. Answers whether it is the first that expires.
    fn set_expiry(&mut self, session: usize, left: Option<Duration>) -> bool {
        let Some(enrolled) = self.all.get_mut(session) else { return false };
        if let Some(before) = enrolled.expires.take() {
            self.expiries.remove(before, session);
        }
        left.is_some_and(|left| {
            let (at, is_first) = self.expiries.add(Instant::now(), left, session);
            enrolled.expires = Some(at);
            is_first
        })
    }

    /// Takes a session that has expired.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Arc<Mailbox>> {
        let expired = self.expiries.pop(now)?;
        let enrolled = self.all.get_mut(expired)?;
        enrolled.expires = None;
        Some(Arc::clone(&enrolled.mailbox))
    }

    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.all.iter().map(|(_, enrolled)| &enrolled.mailbox)
    }

    fn dismiss(&mut self, session: usize, who: Option<&Identity>, rooms: usize) -> Option<Arc<Mailbox>> {
        let Enrolled { mailbox, expires } = self.all.try_remove(session)?;
        self.revoked.remove(&session);
        take_one(&mut self.by_transport, mailbox.transport().name());
        if let Some(at) = expires {
            self.expiries.remove(at, session);
        }
        let Some(who) = who else { return Some(mailbox) };
        self.outside -= 1;
        if let Some(address) = mailbox.address()
            && let Some(held) = self.addresses.get_mut(&address)
        {
            held.sessions -= 1;
            held.rooms -= rooms;
            if held.sessions == 0 {
                self.addresses.remove(&address);
            }
        }
        if let Some(user) = who.name()
            && let Some(keys) = self.users.get_mut(user)
        {
            keys.retain(|key| *key != session);
            if keys.is_empty() {
                self.users.remove(user);
            }
        }
        Some(mailbox)
    }

    fn of_user(&self, user: &str) -> Vec<Arc<Mailbox>> {
        let keys = self.users.get(user).into_iter().flatten();
        keys.filter_map(|key| self.all.get(*key)).map(|enrolled| Arc::clone(&enrolled.mailbox)).collect()
    }

    /// Takes note that a user's sessions are out of rooms. Answers those that are to be told, and those that are to end,
    /// because they do not hear.
    fn revoke(&mut self, user: &str, rooms: &str) -> (Vec<Arc<Mailbox>>, Vec<Arc<Mailbox>>) {
        let rooms: Arc<str> = rooms.into();
        let (mut told, mut deaf) = (Vec::new(), Vec::new());
        for key in self.users.get(user).into_iter().flatten() {
            let Some(Enrolled { mailbox, .. }) = self.all.get(*key) else { continue };
            let revoked = self.revoked.entry(*key).or_default();
            if revoked.len() >= REVOKED {
                deaf.push(Arc::clone(mailbox));
            } else {
                if !revoked.contains(&rooms) {
                    revoked.push(Arc::clone(&rooms));
                }
                told.push(Arc::clone(mailbox));
            }
        }
        (told, deaf)
    }

    /// The most words that wait for one session.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.revoked.values().map(Vec::len).max().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn known_users(&self) -> usize {
        self.users.len()
    }

    /// Gives back the place of those that have gone.
    pub(super) fn shrink(&mut self, kept: usize) {
        if surplus(self.all.capacity(), self.all.len(), kept).is_some() {
            self.all.shrink_to_fit();
        }
        if let Some(enough) = surplus(self.addresses.capacity(), self.addresses.len(), kept) {
            self.addresses.shrink_to(enough);
        }
        if let Some(enough) = surplus(self.users.capacity(), self.users.len(), kept) {
            self.users.shrink_to(enough);
        }
        if let Some(enough) = surplus(self.revoked.capacity(), self.revoked.len(), kept) {
            self.revoked.shrink_to(enough);
        }
    }
}

pub(super) fn take_one<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Node {
    pub(crate) fn enroll(&self, mailbox: Arc<Mailbox>, who: Option<&Identity>) -> Result<usize, Crowded> {
        let (address, serial, transport) = (mailbox.address(), mailbox.serial(), mailbox.transport().name());
        let enrolled = self.sessions.lock().enroll(mailbox, who, &self.limits);
        match enrolled {
            Ok(session) => {
                self.counts.opened.fetch_add(1, Relaxed);
                let address = address.map(tracing::field::display);
                tracing::debug!(session = serial, transport, address, "a session begins");
                self.set_expiry(session, who);
                self.end_if_late(session, who);
            }
            Err(crowded) => self.note_crowded(crowded, address),
        }
        enrolled
    }

    /// Counts one who was given no session, and tells the log of it, unless it is the node's end.
    pub(super) fn note_crowded(&self, crowded: Crowded, address: Option<Address>) {
        self.counts.refused.add(crowded.code());
        if crowded != Crowded::Draining {
            self.quotas.note_crowded(crowded, address);
        }
    }

    /// Ends a session whose user's were ended after the gate was asked, and before it was one of them.
    fn end_if_late(&self, session: usize, who: Option<&Identity>) {
        let reason = match who.map(|who| self.ended_since(who)) {
            None | Some(Ok(None)) => return,
            Some(Ok(Some(reason))) => reason,
            // It comes back, and the gate is asked again.
            Some(Err(_)) => CloseReason::Drain,
        };
        let mailbox = self.sessions.lock().all.get(session).map(|enrolled| Arc::clone(&enrolled.mailbox));
        mailbox.into_iter().for_each(|mailbox| mailbox.close(reason));
    }

    /// A session is another identity's from now on, which has another name only if the one before had none.
    ///
    /// # Errors
    /// If the one who has got a name has as many sessions as a user may have.
    pub(crate) fn renew(&self, session: usize, before: &Identity, who: &Identity) -> Result<(), Crowded> {
        if let (None, Some(user)) = (before.name(), who.name()) {
            let given = self.sessions.lock().give_to(user, session, &self.limits);
            given.inspect_err(|crowded| self.note_crowded(*crowded, None))?;
            self.end_if_late(session, Some(who));
        }
        self.set_expiry(session, Some(who));
        Ok(())
    }

    /// From now on a session expires with this identity.
    fn set_expiry(&self, session: usize, who: Option<&Identity>) {
        let left = who.and_then(|who| self.time_left(who));
        if self.sessions.lock().set_expiry(session, left) {
            self.dirty.tell();
        }
    }

    /// A session is to be in a room more.
    ///
    /// # Errors
    /// If its address has as many as it may.
    pub(crate) fn take_room(&self, mailbox: &Mailbox) -> Result<(), JoinError> {
        let (Some(address), max) = (mailbox.address(), self.limits.address_rooms) else { return Ok(()) };
        {
            let mut sessions = self.sessions.lock();
            let Some(held) = sessions.addresses.get_mut(&address) else { return Ok(()) };
            if held.rooms < max {
                held.rooms += 1;
                return Ok(());
            }
        }
        let full = JoinError::AddressFull { max };
        self.counts.refused.add(full.code());
        self.quotas.note_full(&full, Some(address));
        Err(full)
    }

    /// A session is out of so many rooms.
    pub(crate) fn give_rooms(&self, mailbox: &Mailbox, rooms: usize) {
        if let (Some(address), 1..) = (mailbox.address(), rooms)
            && let Some(held) = self.sessions.lock().addresses.get_mut(&address)
        {
            held.rooms -= rooms;
        }
    }

    /// A session ends, that was in so many rooms.
    pub(crate) fn dismiss(&self, session: usize, who: Option<&Identity>, rooms: usize) {
        let mailbox = {
            let mut sessions = self.sessions.lock();
            let mailbox = sessions.dismiss(session, who, rooms);
            if sessions.outside == 0 {
                self.vacant.notify_waiters();
            }
            mailbox
        };
        if let Some(mailbox) = mailbox {
            let (serial, transport) = (mailbox.serial(), mailbox.transport().name());
            let reason = mailbox.closing().map(tracing::field::display);
            tracing::debug!(session = serial, transport, reason, "a session ends");
        }
    }

    /// Ends the sessions of a user.
    pub(super) fn end_sessions_of(&self, user: &str, reason: CloseReason) {
        let sessions = self.sessions.lock().of_user(user);
        sessions.iter().for_each(|mailbox| mailbox.close(reason));
    }

    /// Ends the sessions of all users, and says how many those were. Whoever is nobody in particular stays.
    pub(super) fn end_named_sessions(&self, reason: CloseReason) -> usize {
        let sessions: Vec<_> = {
            let sessions = self.sessions.lock();
            sessions.users.keys().flat_map(|user| sessions.of_user(user)).collect()
        };
        sessions.iter().for_each(|mailbox| mailbox.close(reason));
        sessions.len()
    }

    /// Tells a user's sessions that they are out of rooms.
    pub(super) fn revoke_rooms(&self, user: &str, rooms: &str) {
        let (told, deaf) = self.sessions.lock().revoke(user, rooms);
        told.iter().for_each(|mailbox| mailbox.revoke());
        // They come back, and are asked by the gate for each room.
        deaf.iter().for_each(|mailbox| mailbox.close(CloseReason::Drain));
    }

    /// Which rooms a session is out of: names, or beginnings with a `*`.
    pub(crate) fn take_revoked(&self, session: usize) -> Vec<Arc<str>> {
        self.sessions.lock().revoked.remove(&session).unwrap_or_default()
    }
}

/// Words that wait for a session to hear them: it hears all at its next turn, and has one whenever its client takes
/// anything.
const REVOKED: usize = 64;
