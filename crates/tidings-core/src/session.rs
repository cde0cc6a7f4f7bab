//! The server's half of one live attachment.

mod agenda;
mod auth;
mod batch;
mod direct;
mod ears;
mod mailbox;
mod subscription;
mod task;
mod tray;
mod work;

pub use batch::{Batch, Step};
pub use direct::Outlet;
pub(crate) use ears::{Ears, Heard};
pub(crate) use mailbox::Mailbox;
pub(crate) use subscription::{Item, Subscriptions, read as read_history};
pub use tray::Tray;
pub(crate) use work::perform;
pub use work::{JoinError, Joined, PublishError};

use crate::reader::Reader;
use crate::{
    Address, CloseReason, Command, CommandError, Denied, From, Identity, Limits, Notice, RoomName, Transport,
    hub::{Crowded, Node, revoked},
    policy::Pattern,
    trace,
    transport::Standing,
};
use agenda::Agenda;
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};
use subscription::Next;
use tracing::{Instrument, Span};
use work::Done;

/// The server's half of one live attachment: one WebSocket, one event stream, one long-poll.
///
/// It is a set of cursors, not a queue of frames: a client that reads slowly costs no memory. Whoever owns the
/// connection gives it the client's commands ([`receive`](Self::receive)) and pulls bytes from it
/// ([`poll_batch`](Self::poll_batch)). Dropping it ends the session: it is out of all its rooms at once.
pub struct Session {
    node: Arc<Node>,
    mailbox: Arc<Mailbox>,
    key: usize,
    /// The mailbox has the cursors.
    lent: bool,
    /// The right to a room was taken from it.
    revoked: bool,
    /// None: the application's own session, asked at no gate.
    identity: Option<Identity>,
    subscriptions: Subscriptions,
    agenda: Agenda,
    ended: Option<CloseReason>,
}

impl Session {
    pub(crate) fn new(
        node: Arc<Node>,
        transport: Arc<dyn Transport>,
        identity: Option<Identity>,
        address: Option<Address>,
    ) -> Result<Self, Crowded> {
        let mailbox = Arc::new(Mailbox::new(transport, address, node.serial()));
        let key = node.enroll(Arc::clone(&mailbox), identity.as_ref())?;
        Ok(Self {
            node,
            mailbox,
            key,
            lent: false,
            revoked: false,
            identity,
            subscriptions: Subscriptions::default(),
            agenda: Agenda::default(),
            ended: None,
        })
    }

    /// Enters a room, and says so in the session's own stream before the first message. In a room where the
    /// session is already nothing changes.
    ///
    /// Dropping the future leaves the session as it was.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&mut self, room: RoomName, from: From) -> Result<Joined, JoinError> {
        if let Some(joined) = self.subscriptions.joined(&room) {
            return Ok(joined);
        }
        let key = self.reserve()?;
        let entered = work::enter(
            Arc::clone(&self.node),
            self.identity.clone(),
            Arc::clone(&self.mailbox),
            key,
            room,
            from,
        )
        .await
        .inspect_err(|_| self.unsubscribe(|all| all.release(key)))?;
        let joined = entered.joined();
        self.agenda.say(joined.clone().notice(None));
        self.admit(key, entered);
        Ok(joined)
    }

    /// Says something to the client, before what it has not yet been told.
    pub fn tell(&mut self, notice: Notice) {
        self.agenda.say(notice);
    }

    /// Whether the session takes a command now. If not, the owner should stop reading from its client until
    /// [`poll_batch`](Self::poll_batch) has brought the answer to the last one. One that has said that it ends takes
    /// none.
    pub fn is_idle(&self) -> bool {
        self.ended.is_none() && !self.agenda.is_working() && self.agenda.notices() < OUTBOX
    }

    /// Begins to do a command; the answer comes with [`poll_batch`](Self::poll_batch).
    ///
    /// # Panics
    /// If the session is not [idle](Self::is_idle).
    pub fn receive(&mut self, command: Command) {
        assert!(self.is_idle(), "a session takes a command when it is idle");
        let span = trace::command(command.name(), Some(&self.mailbox));
        let _doing = span.enter();
        if !self.may_ask(command.reference()) {
            return;
        }
        match command {
            Command::Auth { reference, token } => self.receive_token(reference, token, &span),
            Command::Ping { reference } => self.agenda.say(Notice::Pong { reference }),
            command if self.identity.as_ref().is_some_and(Identity::is_stranger) => {
                let denied = Denied::unauthorized("say who you are first, with \"auth\"");
                self.deny(command.reference(), &denied);
            }
            Command::Join { reference, room, from } => self.receive_join(reference, room, from, &span),
            Command::Leave { reference, room } => {
                self.unsubscribe(|all| all.remove_room(&room));
                self.agenda.say(Notice::Left { reference, room });
            }
            command => {
                let (node, session) = (Arc::clone(&self.node), Some(self.mailbox.serial()));
                let work = work::perform(node, self.identity.clone(), session, command);
                self.begin(async { Done::Notice(work.await) }, &span);
            }
        }
    }

    /// The command is under way.
    fn begin(&mut self, work: impl Future<Output = Done> + Send + 'static, span: &Span) {
        self.agenda.todo().work = Some(Box::pin(work.instrument(span.clone())));
    }

    /// Whether the client has not asked too often; if it has, it is told so, and if it goes on, the session ends.
    fn may_ask(&mut self, reference: Option<u64>) -> bool {
        let Some(who) = &self.identity else { return true };
        let asked = self.node.quotas.ask(Some(self.mailbox.serial()), who, self.mailbox.address());
        let Err(over) = asked else { return true };
        self.node.counts.refused.add("rate");
        self.agenda.say(over.notice(reference));
        if self.node.quotas.refuse(self.mailbox.serial()) {
            self.mailbox.close(CloseReason::Rate);
        }
        false
    }

    /// Tells the client that what it sent was no command. The session goes on.
    ///
    /// # Panics
    /// If the session is not [idle](Self::is_idle).
    pub fn refuse(&mut self, error: CommandError) {
        assert!(self.is_idle(), "a session takes a command when it is idle");
        if self.may_ask(error.reference) {
            self.node.counts.refused.add(error.code);
            self.agenda.say(error.into());
        }
    }

    /// Whether the client has been told of every room that it has ended, or that it is out of it: then nothing will come
    /// where no room can be joined.
    pub fn has_ended(&self) -> bool {
        let none_is_left = self.revoked && self.rooms() == 0;
        self.agenda.notices() == 0 && (none_is_left || self.subscriptions.all(Reader::has_ended))
    }

    /// Whether every room has ended before the place where the client came back: it has everything.
    pub fn is_at_end(&self) -> bool {
        self.subscriptions.all(Reader::is_at_end)
    }

    /// Takes it as said that rooms have ended whose last message the client already had.
    pub fn skip_ends(&mut self) {
        self.subscriptions.skip_ends();
    }

    /// How many rooms the session is in.
    pub fn rooms(&self) -> usize {
        self.subscriptions.len()
    }

    /// Where the session stands: its rooms, sorted by name, and the cursor over them.
    pub fn standing(&self) -> Standing<'_> {
        Standing { session: &self.subscriptions }
    }

    /// The limits of the hub.
    pub fn limits(&self) -> &Limits {
        &self.node.limits
    }

    /// The transport.
    pub fn transport(&self) -> &dyn Transport {
        &**self.mailbox.transport()
    }

    /// Lets the hub write what is new straight to `outlet`, without waking the owner of the session. To be called
    /// when [`poll_batch`](Self::poll_batch) was pending and nothing waits to be written; from then on the owner
    /// writes nothing until it has called [`take_back`](Self::take_back), which it must do whenever it is woken.
    ///
    /// The first outlet is kept until the session is dropped, and is the one that is written to: give the same each time.
    ///
    /// Nothing happens where it cannot be: a command is under way, or messages need a
    /// [mark](Transport::mark) of the session's own, or the rooms are many.
    pub fn lend(&mut self, outlet: &Arc<impl Outlet>) {
        let idle = self.ended.is_none() && self.agenda.put_away();
        let rooms = self.subscriptions.len();
        if !idle || rooms == 0 || rooms > LENT || self.transport().marks() {
            return;
        }
        if self.subscriptions.are_standing() {
            self.mailbox.lend(outlet, self.subscriptions.places());
            self.lent = true;
        }
    }

    /// Whether the hub has the session, since it was [lent](Self::lend).
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Ready when a session that is lent has to be [taken back](Self::take_back), for an owner who may be woken for other
    /// reasons. Until then the task is woken when it has.
    pub fn poll_call(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mailbox.is_told(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the session back from the hub. What is answered comes first of all that is written; mostly it is empty.
    #[must_use = "what was written in part must be finished"]
    pub fn take_back(&mut self) -> Bytes {
        if !std::mem::take(&mut self.lent) {
            return Bytes::new();
        }
        self.mailbox.take_back(|room, cursor| self.subscriptions.move_to(room, cursor))
    }

    /// Gathers what is new for all rooms into `batch`, up to its limit. Pending when there is nothing; then the
    /// task is woken when there is. After [`Step::End`] nothing more comes.
    ///
    /// What is in the batch counts as sent: the cursors have moved past it.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<Step> {
        debug_assert!(!self.lent, "a session that is lent is taken back first");
        // A session that always has something to read must hear it too.
        let mut messages = 0;
        let (revoked, close) = self.mailbox.take_urgent();
        if revoked {
            self.leave_revoked();
        }
        if let (None, Some(reason)) = (self.ended, close) {
            self.end(reason);
        }
        // What is in the outbox belongs to what went before it.
        while !batch.is_full() || self.agenda.notices() > 0 {
            match self.poll_item(cx) {
                Poll::Ready(Ok(item)) => {
                    messages += u64::from(matches!(item, Item::Message(_)));
                    self.put(&item, batch);
                }
                Poll::Ready(Err(reason)) if batch.is_empty() => return Poll::Ready(Step::End(reason)),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        self.node.counts.pulled.add(messages, u64::from(messages > 0));
        Poll::Ready(Step::Some)
    }

    /// Whether the session is to end, for an owner whose client takes nothing, so that there is no use in another
    /// [batch](Self::poll_batch). If it is not, the task is woken when it is.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let closing = self.ended.or_else(|| self.mailbox.wait_for_close(cx.waker()));
        closing.map_or(Poll::Pending, Poll::Ready)
    }

    /// Counts the client as slow, and tells the log: it takes nothing of what is sent, for so long that it is given up.
    pub fn note_stalled(&self) {
        self.node.note_stalled(&self.mailbox);
    }

    fn put(&self, item: &Item, batch: &mut Batch) {
        match item {
            Item::Message(message) => {
                if self.transport().marks() {
                    batch.put_with(|out| self.transport().mark(self.standing(), out));
                }
                batch.put_message(message.form(self.transport().encoder()).clone());
            }
            Item::Notice(notice) => {
                batch.put_with(|out| self.transport().notice(notice, self.standing(), out))
            }
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.mailbox.closing().is_some()
    }

    /// The next thing for the client; the cursors have moved past it. Or why there is nothing any more.
    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, CloseReason>> {
        loop {
            let todo = self.agenda.todo();
            if let Some(notice) = todo.outbox.pop_front() {
                return Poll::Ready(Ok(Item::Notice(notice)));
            }
            if let Some(reason) = self.ended {
                return Poll::Ready(Err(reason));
            }
            if let Poll::Ready(done) = todo.poll_work(cx) {
                self.take_in(done);
                continue;
            }
            if let Some(&key) = todo.ready.front() {
                match self.subscriptions.next(key, &self.node, &self.mailbox, self.identity.as_ref()) {
                    Next::Item(item) => {
                        todo.outbox.extend(self.subscriptions.take_end(key));
                        return Poll::Ready(Ok(item));
                    }
                    Next::Turn => {
                        // Behind rooms that have got something meanwhile, too.
                        todo.ready.pop_front();
                        self.mailbox.put_back(key);
                    }
                    Next::Read => todo.reading.extend(todo.ready.pop_front()),
                    Next::Nothing => drop(todo.ready.pop_front()),
                }
                continue;
            }
            let read = self.subscriptions.poll_reads(cx, self.node.limits.batch, todo);
            let told = self.mailbox.take(&mut todo.ready, cx.waker());
            if told.revoked {
                self.leave_revoked();
            }
            if let Some(reason) = told.close {
                self.end(reason);
            } else if told.revoked {
                continue;
            } else if !told.some && !read {
                self.agenda.put_away();
                return Poll::Pending;
            }
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.ended = Some(reason);
        self.node.counts.closed.add(reason.word());
        self.agenda.say(reason.notice());
    }

    /// Leaves the rooms that the user has no right to any more.
    fn leave_revoked(&mut self) {
        for rooms in self.node.take_revoked(self.key) {
            for room in self.subscriptions.matching(Pattern::new(&rooms)) {
                self.revoked = true;
                self.leave(room, &revoked());
            }
        }
    }

    fn deny(&mut self, reference: Option<u64>, denied: &Denied) {
        self.node.counts.refused.add(denied.code());
        self.agenda.say(denied.notice(reference));
    }

    /// Leaves a room that is not open to it any more, and tells the client.
    fn leave(&mut self, room: RoomName, denied: &Denied) {
        self.unsubscribe(|all| all.remove_room(&room));
        self.agenda.say(Notice::Refused { room, code: denied.code(), message: denied.to_string() });
    }

    /// Takes in what came of the command that was under way.
    fn take_in(&mut self, done: Done) {
        match done {
            Done::Notice(notice) => self.agenda.say(notice),
            Done::Renewed { reference, result: Ok(renewed) } => self.take_in_identity(reference, renewed),
            Done::Renewed { reference, result: Err(denied) } => self.deny(reference, &denied),
            Done::Entered { key, reference, result: Ok(entered) } => {
                self.agenda.say(entered.joined().notice(reference));
                self.admit(key, entered);
            }
            Done::Entered { key, reference, result: Err(error) } => {
                self.unsubscribe(|all| all.release(key));
                self.agenda.say(error.notice(reference));
            }
        }
    }

    fn receive_join(&mut self, reference: Option<u64>, room: RoomName, from: From, span: &Span) {
        if let Some(joined) = self.subscriptions.joined(&room) {
            self.agenda.say(joined.notice(reference));
            return;
        }
        match self.reserve() {
            Ok(key) => {
                let entered = work::enter(
                    Arc::clone(&self.node),
                    self.identity.clone(),
                    Arc::clone(&self.mailbox),
                    key,
                    room,
                    from,
                );
                self.begin(async move { Done::Entered { key, reference, result: entered.await } }, span);
            }
            Err(error) => self.agenda.say(error.notice(reference)),
        }
    }

    fn reserve(&mut self) -> Result<usize, JoinError> {
        if !self.agenda.is_working() {
            // A call of `join` whose future was dropped left its slot behind.
            self.unsubscribe(Subscriptions::sweep);
        }
        let max = self.node.limits.rooms;
        if self.subscriptions.len() >= max && self.identity.is_some() {
            let error = JoinError::TooManyRooms { max };
            self.node.counts.refused.add(error.code());
            return Err(error);
        }
        self.node.take_room(&self.mailbox)?;
        Ok(self.subscriptions.reserve())
    }

    /// Does something by which the session may be out of rooms.
    fn unsubscribe(&mut self, does: impl FnOnce(&mut Subscriptions)) {
        let before = self.subscriptions.len();
        does(&mut self.subscriptions);
        self.node.give_rooms(&self.mailbox, before - self.subscriptions.len());
    }

    fn admit(&mut self, key: usize, entered: work::Entered) {
        self.unsubscribe(|all| all.fill(key, entered));
        self.agenda.todo().ready.push_back(key);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.node.dismiss(self.key, self.identity.as_ref(), self.subscriptions.len());
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("transport", &self.transport().name())
            .field("identity", &self.identity)
            .field("rooms", &self.rooms())
            .finish_non_exhaustive()
    }
}

/// Rooms of a session that is lent: looked through at each message, and copied at each loan.
const LENT: usize = 32;
/// Notices that may wait before no more commands are taken.
const OUTBOX: usize = 16;

#[cfg(all(test, not(tidings_loom)))]
pub(crate) mod tests;
