//! What a node itself hears of rooms that nodes have for one another.

use super::{
    Mailbox,
    agenda::Todo,
    read_history,
    subscription::{Item, Next, Subscriptions},
    work::Entered,
};
use crate::{CloseReason, From, RoomName, hub::Node, reader::Reader, subscribe::Inside};
use std::{
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll},
};
use tokio::time::Instant;

/// A node's own cursors. Unlike a session they keep nobody's node.
pub(crate) struct Ears {
    node: Weak<Node>,
    mailbox: Arc<Mailbox>,
    subscriptions: Subscriptions,
    todo: Todo,
}

/// A place in a room, from the oldest message that the broker keeps.
pub(crate) struct Heard {
    key: usize,
    entered: Option<Entered>,
}

impl Ears {
    pub(crate) fn new(node: Weak<Node>) -> Self {
        let mailbox = Arc::new(Mailbox::new(Arc::new(Inside), None, 0));
        Self { node, mailbox, subscriptions: Subscriptions::default(), todo: Todo::default() }
    }

    /// Where the node can say that it has ended.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Enters a room, beside others, however long the broker is away. What comes of it is to be given to
    /// [`admit`](Self::admit).
    pub(crate) fn enter(&mut self, room: RoomName) -> impl Future<Output = Heard> + Send + use<> {
        let key = self.subscriptions.reserve();
        let (node, mailbox) = (Weak::clone(&self.node), Arc::clone(&self.mailbox));
        async move { Heard { key, entered: enter(node, mailbox, key, room).await } }
    }

    /// Begins to hear a room, if there was a place for it and it is still wanted. Answers whether the room has anything that is
    /// to be heard, and where that ends.
    pub(crate) fn admit(&mut self, heard: Heard, wanted: bool) -> Option<(bool, crate::Position)> {
        let Heard { key, entered } = heard;
        let Some(entered) = entered.filter(|_| wanted) else {
            self.subscriptions.release(key);
            return None;
        };
        let (cursor, head) = (entered.reader.cursor(), entered.membership.room.head());
        self.subscriptions.fill(key, entered);
        self.todo.ready.push_back(key);
        Some((cursor != head, head))
    }

    pub(crate) fn leave(&mut self, room: &RoomName) {
        self.subscriptions.remove_room(room);
    }

    /// The next that is heard; none when the node has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(node) = self.node.upgrade() else { return Poll::Ready(None) };
        loop {
            if let Some(&key) = self.todo.ready.front() {
                match self.subscriptions.next(key, &node, &self.mailbox, None) {
                    Next::Item(item) => return Poll::Ready(Some(item)),
                    Next::Turn => {
                        self.todo.ready.pop_front();
                        self.mailbox.put_back(key);
                    }
                    Next::Read => self.todo.reading.extend(self.todo.ready.pop_front()),
                    Next::Nothing => drop(self.todo.ready.pop_front()),
                }
                continue;
            }
            let read = self.subscriptions.poll_reads(cx, node.limits.batch, &mut self.todo);
            let told = self.mailbox.take(&mut self.todo.ready, cx.waker());
            if told.close.is_some() {
                return Poll::Ready(None);
            }
            if !told.some && !read {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.mailbox.close(CloseReason::Gone);
    }
}

async fn enter(node: Weak<Node>, mailbox: Arc<Mailbox>, key: usize, room: RoomName) -> Option<Entered> {
    let membership = node.upgrade()?.enter(&room, mailbox, key).ok()?;
    membership.room.known().await;
    let from = From::After(membership.room.base());
    let reader = match membership.room.begin(from, Instant::now()) {
        Ok(reader) => reader,
        Err(read) => {
            let node = node.upgrade()?;
            let (batch, rooms) = (node.limits.batch, membership.room.rooms);
            let slice = read_history(node, room, rooms, read).await;
            Reader::begin_with(rooms.kind(), read, slice, batch)
        }
    };
    Some(Entered { membership, reader })
}
