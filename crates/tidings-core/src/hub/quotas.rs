//! How often clients may ask, and how often the log is told.

use super::{Crowded, Node, Room, guard::Fault};
use crate::{
    Address, Buckets, Identity, JoinError, Limits, Notice, Rate, broker::BrokerError, session::Mailbox,
};
use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// How often clients may ask for something. Nothing is held for those that do not.
pub(crate) struct Quotas {
    sessions: Buckets,
    /// Commands of sessions that are over the rate of one.
    refused: Buckets,
    users: Buckets,
    addresses: Buckets,
    requests: Buckets,
    /// Lines of the log, for each that they are about.
    lines: Buckets,
    serial: AtomicU32,
    /// Slow episodes.
    slow: AtomicU64,
}

/// A client has asked too often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    whose: &'static str,
}

impl Over {
    pub(crate) fn notice(self, reference: Option<u64>) -> Notice {
        let message = format!("too many commands of this {}; later they are done again", self.whose);
        Notice::Error { reference, code: "rate", message }
    }
}

impl Quotas {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sessions: Buckets::new(limits.session_commands),
            refused: Buckets::new(limits.session_commands),
            users: Buckets::new(limits.user_commands),
            addresses: Buckets::new(limits.address_commands),
            requests: Buckets::new(limits.address_requests),
            lines: Buckets::new(Rate::per_second(1)),
            serial: AtomicU32::new(0),
            slow: AtomicU64::new(0),
        }
    }

    /// A client asks for something; `session` is the serial number of its session, if it asks by one.
    pub(crate) fn ask(
        &self,
        session: Option<u32>,
        who: &Identity,
        address: Option<Address>,
    ) -> Result<(), Over> {
        let over = |whose| move |_| Over { whose };
        if let Some(session) = session {
            self.sessions.take(session).map_err(over("session"))?;
        }
        if let Some(user) = who.name() {
            self.users.take(user).map_err(over("user"))?;
        }
        if let Some(address) = address {
            self.addresses.take(address).map_err(over("address"))?;
        }
        Ok(())
    }

    /// A command of a session was refused. Answers whether that has gone on for too long.
    pub(crate) fn refuse(&self, session: u32) -> bool {
        self.refused.take(session).is_err()
    }

    pub(super) fn request(&self, address: Address) -> bool {
        self.requests.take(address).is_ok()
    }

    pub(super) fn slow(&self) -> u64 {
        self.slow.load(Relaxed)
    }

    pub(super) fn note_crowded(&self, crowded: Crowded, address: Option<Address>) {
        // Of each kind: whoever comes from many addresses could write a line for each.
        if self.lines.take(crowded.code()).is_ok() {
            let address = address.map(tracing::field::display);
            tracing::warn!(
                address,
                "no session: {crowded}; an address that is a proxy's is to be named as one"
            );
        }
    }

    /// Tells the log why a session may be in no room more.
    pub(super) fn note_full(&self, full: &JoinError, address: Option<Address>) {
        if self.lines.take(("rooms", address.is_some())).is_ok() {
            let address = address.map(tracing::field::display);
            tracing::warn!(address, "no room for a session: {full}");
        }
    }

    pub(super) fn note_fault(&self, what: &'static str, fault: Fault) {
        if self.lines.take((what, fault)).is_ok() {
            tracing::error!(asked = what, "{fault}");
        }
    }

    /// Tells the log that the broker did not do what it was asked, which is all that the operator hears of it: whoever has to
    /// wait for it is told that it is not now.
    pub(crate) fn note_broker(&self, asked: &'static str, error: &BrokerError) {
        if self.lines.take(("broker", asked)).is_ok() {
            tracing::warn!(asked, "{error}");
        }
    }

    /// Forgets whoever has asked for nothing lately.
    pub(super) fn tidy(&self) {
        let Self { sessions, refused, users, addresses, requests, lines, .. } = self;
        [sessions, refused, users, addresses, requests, lines].into_iter().for_each(Buckets::tidy);
    }
}

impl Node {
    /// A number for a session, which no other has had lately.
    pub(crate) fn serial(&self) -> u32 {
        self.quotas.serial.fetch_add(1, Relaxed)
    }

    /// What a session is called among those of all nodes.
    pub(crate) fn session_name(&self, serial: u32) -> String {
        format!("{:x}.{serial:x}", self.id)
    }

    /// Whether that is what a session is called. It is asked for each delivery of an event that is not for all, and makes no text.
    pub(crate) fn is_session(&self, name: &str, serial: u32) -> bool {
        name.split_once('.').is_some_and(|(node, session)| {
            u64::from_str_radix(node, 16) == Ok(self.id) && u32::from_str_radix(session, 16) == Ok(serial)
        })
    }

    /// A session that had everything of a room has fallen off what the node holds of it.
    pub(crate) fn note_slow(&self, mailbox: &Mailbox, room: &Room) {
        let policy = room.rooms.slow_policy();
        self.slow_episode(
            mailbox,
            format_args!("reads more slowly than a room's history passes: {policy:?}"),
        );
    }

    /// A client took nothing for as long as it may.
    pub(crate) fn note_stalled(&self, mailbox: &Mailbox) {
        self.slow_episode(mailbox, format_args!("takes nothing of what is sent, and is given up"));
    }

    fn slow_episode(&self, mailbox: &Mailbox, what: fmt::Arguments<'_>) {
        self.quotas.slow.fetch_add(1, Relaxed);
        if self.quotas.lines.take(("slow", mailbox.serial())).is_ok() {
            tracing::info!(
                session = mailbox.serial(),
                transport = mailbox.transport().name(),
                address = mailbox.address().map(tracing::field::display),
                "a client {what}",
            );
        }
    }
}
