//! The sessions of a node, and how many there may be.

use super::{
    Node,
    expiry::{Expiries, Tick},
};
use crate::{Address, CloseReason, Identity, Limits, session::Mailbox, surplus::surplus};
use slab::Slab;
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
    /// Those of clients.
    pub(super) outside: usize,
    /// How many each address and each named user has; none has none.
    addresses: HashMap<Address, usize>,
    users: HashMap<Box<str>, usize>,
    /// No client is given one any more.
    pub(super) draining: bool,
    /// What a new session is told at once.
    pub(super) closing: Option<CloseReason>,
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
            let held = address.and_then(|address| self.addresses.get(&address).copied()).unwrap_or_default();
            if address.is_some() && held >= limits.address_sessions {
                return Err(Crowded::Address { max: limits.address_sessions });
            }
            if let Some(user) = user {
                self.count_user(user, limits)?;
            }
            self.outside += 1;
            if let Some(address) = address {
                *self.addresses.entry(address).or_default() += 1;
            }
        }
        if let Some(reason) = self.closing {
            mailbox.close(reason);
        }
        Ok(self.all.insert(Enrolled { mailbox, expires: None }))
    }

    fn count_user(&mut self, user: &str, limits: &Limits) -> Result<(), Crowded> {
        let max = limits.user_sessions;
        if self.users.get(user).is_some_and(|held| *held >= max) || max == 0 {
            return Err(Crowded::User { max });
        }
        *self.users.entry(user.into()).or_default() += 1;
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

    fn dismiss(&mut self, session: usize, who: Option<&Identity>) -> Option<Arc<Mailbox>> {
        let Enrolled { mailbox, expires } = self.all.try_remove(session)?;
        if let Some(at) = expires {
            self.expiries.remove(at, session);
        }
        let Some(who) = who else { return Some(mailbox) };
        self.outside -= 1;
        if let Some(address) = mailbox.address() {
            take_one(&mut self.addresses, &address);
        }
        if let Some(user) = who.name() {
            take_one(&mut self.users, user);
        }
        Some(mailbox)
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
        match &enrolled {
            Ok(_) => {
                self.counts.opened.fetch_add(1, Relaxed);
                let address = address.map(tracing::field::display);
                tracing::debug!(session = serial, transport, address, "a session begins");
            }
            Err(crowded) => self.counts.refused.add(crowded.code()),
        }
        match enrolled {
            Ok(session) => self.set_expiry(session, who),
            Err(Crowded::Draining) => {}
            Err(crowded) => self.quotas.note_crowded(crowded, address),
        }
        enrolled
    }

    /// A session is another identity's from now on, which has another name only if the one before had none.
    ///
    /// # Errors
    /// If the one who has got a name has as many sessions as a user may have.
    pub(crate) fn renew(&self, session: usize, before: &Identity, who: &Identity) -> Result<(), Crowded> {
        if let (None, Some(user)) = (before.name(), who.name()) {
            let counted = self.sessions.lock().count_user(user, &self.limits);
            counted.inspect_err(|crowded| self.quotas.note_crowded(*crowded, None))?;
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

    pub(crate) fn dismiss(&self, session: usize, who: Option<&Identity>) {
        let mailbox = {
            let mut sessions = self.sessions.lock();
            let mailbox = sessions.dismiss(session, who);
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
}
