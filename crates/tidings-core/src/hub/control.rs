//! Words of the application to all nodes: whose sessions are to end, and who is out of which rooms.
//!
//! They are events of a reserved room, `~control`, which each node reads as a session reads its rooms: so every broker
//! carries them, in order, and a node that may have missed one is told of a gap. Then it ends the sessions of all users,
//! who come back and are asked by the gate for everything again.

use super::{Hub, Node, Room};
use crate::{
    CloseReason, Denied, Event, From, Identity, Position, PublishError, RoomName, Rooms,
    broker::Publish,
    policy::Pattern,
    reader::{Fill, Given, Reader},
    ring::Place,
    session::{Mailbox, read_history},
    subscribe::Inside,
    sync::Mutex,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// What a node hears of the words to all.
pub(super) struct Control {
    /// Not one of the rooms that sessions are in: it is never evicted, and nobody can name it.
    pub(super) room: Arc<Room>,
    /// Where whoever listens is told that there is something, or that the node has ended.
    mailbox: Arc<Mailbox>,
    /// Up to where the words were done; none before the node hears them.
    done: Mutex<Option<Position>>,
    /// Told when that place moves.
    moved: Notify,
}

/// A word to all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Word {
    /// The user's sessions are to end.
    Disconnect { user: String, reason: CloseReason },
    /// The user is out of these rooms.
    Revoke { user: String, rooms: String },
}

impl Hub {
    /// Ends every session of a user, on every node that shares the broker, within a second: each tells its client why, and
    /// by the reason whether to come back. Nothing of it is remembered: whether the user may come in again, the gate says.
    ///
    /// It holds for whoever was let in before it was stored. One whose gate is asked just then is asked again. Dropping
    /// the future leaves open whether it was stored.
    ///
    /// # Errors
    /// See [`PublishError`]; then the sessions go on, or it is not known, and it can be done again.
    pub async fn disconnect(&self, user: &str, reason: CloseReason) -> Result<(), PublishError> {
        self.node.say(&Word::Disconnect { user: user.to_owned(), reason }).await
    }

    /// Takes the right to rooms from a user, on every node that shares the broker, within a second: sessions leave the room
    /// of that name, or with a `*` at the end all that begin so, and tell their clients by an error `forbidden` that names
    /// each. Other rooms of a session go on; an event stream or a poll that has none left ends.
    ///
    /// Nothing of it is remembered: the gate is asked at the next join, and is to say no by then. Dropping the future leaves
    /// open whether it was stored.
    ///
    /// # Errors
    /// See [`PublishError`]; then nothing was taken, or it is not known, and it can be done again.
    pub async fn revoke(&self, user: &str, rooms: &str) -> Result<(), PublishError> {
        self.node.say(&Word::Revoke { user: user.to_owned(), rooms: rooms.to_owned() }).await
    }
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Room::new(RoomName::control(), Arc::default(), None)),
            mailbox: Arc::new(Mailbox::new(Arc::new(Inside), None, 0)),
            done: Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Ends whoever listens.
    pub(super) fn end(&self) {
        self.mailbox.close(CloseReason::Gone);
    }

    fn mark(&self) -> Option<Position> {
        *self.done.lock()
    }

    fn move_to(&self, position: Position) {
        if self.done.lock().replace(position) != Some(position) {
            self.moved.notify_waiters();
        }
    }

    /// Where the node stands, once that is as it should be.
    async fn until(&self, is: impl Fn(Option<Position>) -> bool) -> Option<Position> {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            let mark = self.mark();
            if is(mark) {
                return mark;
            }
            moved.await;
        }
    }

    /// What `find` makes of the first word after `since` of which it makes anything.
    ///
    /// # Errors
    /// If that cannot be said any more, for the place has fallen behind what the node holds, or the words begin anew.
    fn find_since<T>(&self, since: Position, find: impl Fn(Word) -> Option<T>) -> Result<Option<T>, Denied> {
        self.room.with_ring(|ring| match ring.locate(since) {
            Place::At(at) => {
                for message in ring.messages(at) {
                    // What is not understood may have been about anybody.
                    let word = message.event().parse().map_err(|_| unheard())?;
                    if let Some(found) = find(word) {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            Place::Older | Place::Newer | Place::Foreign => Err(unheard()),
        })
    }
}

impl Node {
    async fn say(self: &Arc<Self>, word: &Word) -> Result<(), PublishError> {
        self.start_if_possible();
        let event = Event::json("word", word).expect("a name, and texts are JSON");
        let (len, max) = (event.data().len(), self.limits.message);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        let room = RoomName::control();
        let said = self.broker.publish(Publish { room, event, key: None, rooms: Rooms::default() }).await;
        said.inspect_err(|error| self.quotas.note_broker("publish", error))?;
        Ok(())
    }

    /// Asks who it is, and again if the user's sessions were, or may have been, ended meanwhile: the gate may have looked before.
    pub(crate) async fn admit<F>(&self, ask: impl Fn() -> F) -> Result<Identity, Denied>
    where
        F: Future<Output = Result<Identity, Denied>>,
    {
        loop {
            let since = self.control.mark();
            let who = ask().await?;
            let (Some(since), Some(_)) = (since, who.name()) else { return Ok(who) };
            let who = who.with_since(since);
            if let Ok(None) = self.ended_since(&who) {
                return Ok(who);
            }
            // Before the word is done there is nothing to be learnt, and who listens needs its turn.
            let done = self.control.until(|mark| mark != Some(since));
            if timeout(self.limits.gate_wait, done).await.is_err() {
                return Err(unheard());
            }
        }
    }

    /// With which reason the sessions of an identity's user were ended since the gate was asked, if they were: before it has a
    /// session, it is none of those that hear so.
    ///
    /// # Errors
    /// If that cannot be said.
    pub(super) fn ended_since(&self, who: &Identity) -> Result<Option<CloseReason>, Denied> {
        let (Some(since), Some(name)) = (who.since(), who.name()) else { return Ok(None) };
        self.control.find_since(since, |word| match word {
            Word::Disconnect { user, reason } if user == name => Some(reason),
            Word::Disconnect { .. } | Word::Revoke { .. } => None,
        })
    }

    /// Where in the words to all the node stands, once it hears them: nobody is let into a room before.
    pub(crate) async fn hearing(&self) -> Option<Position> {
        self.control.until(|mark| mark.is_some()).await
    }

    /// Fails if the right to a room was taken from a user since the node stood at a place, or if that cannot be said.
    pub(crate) fn holds_since(&self, since: Position, who: &Identity, room: &RoomName) -> Result<(), Denied> {
        let Some(name) = who.name() else { return Ok(()) };
        let taken = self.control.find_since(since, |word| match word {
            Word::Revoke { user, rooms } if user == name && Pattern::new(&rooms).fits(room) => {
                Some(revoked())
            }
            Word::Revoke { .. } | Word::Disconnect { .. } => None,
        });
        taken?.map_or(Ok(()), Err)
    }

    /// Begins to listen, where the last one to listen has stopped.
    pub(super) fn listen(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let room = Arc::clone(&self.control.room);
        runtime.spawn(listen(Arc::downgrade(self), room, Arc::clone(&self.control.mailbox)));
    }

    fn obey(&self, event: &Event) {
        match event.parse::<Word>() {
            Ok(Word::Disconnect { user, reason }) => {
                self.forget_tickets(Some(&user));
                self.end_sessions_of(&user, reason);
            }
            Ok(Word::Revoke { user, rooms }) => self.revoke_rooms(&user, &rooms),
            Err(error) => {
                tracing::warn!("a word to all nodes is not understood: {error}; is another version at work?");
                self.end_all_users();
            }
        }
    }

    /// What was missed may have been about any of them.
    fn end_all_users(&self) {
        self.forget_tickets(None);
        let ended = self.end_named_sessions(CloseReason::Drain);
        tracing::warn!(sessions = ended, "words to all nodes were missed; users are to come back");
    }
}

async fn listen(node: Weak<Node>, room: Arc<Room>, mailbox: Arc<Mailbox>) {
    let (membership, begun) = {
        let Some(node) = node.upgrade() else { return };
        let membership = room.enter(Arc::clone(&mailbox), 0);
        node.run(Arc::clone(&room).sync(Arc::clone(&node)));
        (membership, node.control.mark())
    };
    membership.room.known().await;
    let from = begun.map_or(From::Now, From::After);
    let mut reader = match room.begin(from, Instant::now()) {
        Ok(reader) => reader,
        Err(read) => {
            let Some(node) = node.upgrade() else { return };
            let slice = read_history(Arc::clone(&node), room.name.clone(), room.rooms, read).await;
            Reader::begin_with(room.rooms.kind(), read, slice, node.limits.batch)
        }
    };
    loop {
        let Some(node) = node.upgrade() else { return };
        let given = reader.give();
        match &given {
            Some(Given::Message(message)) => node.obey(message.event()),
            Some(Given::Gap { .. }) => node.end_all_users(),
            Some(Given::End { .. }) => {}
            None => match room.fill(&mut reader, node.limits.batch) {
                Fill::Some => {}
                Fill::Read(read) => {
                    let batch = node.limits.batch;
                    let slice = read_history(node, room.name.clone(), room.rooms, read).await;
                    reader.read(slice, batch);
                    continue;
                }
                Fill::Nothing | Fill::TooSlow => {
                    node.control.move_to(reader.cursor());
                    drop(node);
                    if !is_told(&mailbox).await {
                        return;
                    }
                    continue;
                }
            },
        }
        node.control.move_to(reader.cursor());
    }
}

/// Resolves when there is something to hear; false if there never will be.
async fn is_told(mailbox: &Mailbox) -> bool {
    let mut ready = VecDeque::new();
    poll_fn(|cx| {
        let told = mailbox.take(&mut ready, cx.waker());
        if told.close.is_some() || told.some { Poll::Ready(told.close.is_none()) } else { Poll::Pending }
    })
    .await
}

/// What a client is told whose right to a room was taken.
pub(crate) fn revoked() -> Denied {
    Denied::forbidden("the right to this room was taken away")
}

/// What one is told of whom it cannot be said now whether a word was about it: no for now, and not for ever.
fn unheard() -> Denied {
    Denied::unavailable("what was said to all nodes is not known here now; try again later")
}

#[cfg(all(test, not(tidings_loom)))]
mod tests;
