//! What a session has to do.

use super::work::{Done, Work};
use crate::Notice;
use std::{
    cell::Cell,
    collections::VecDeque,
    task::{Context, Poll, ready},
};

/// What a session has to do. Empty, it holds no memory, for most sessions are idle most of the time.
#[derive(Default)]
pub(super) struct Agenda(Option<Box<Todo>>);

/// What there is to do, if there is anything.
#[derive(Default)]
pub(super) struct Todo {
    /// Subscriptions with something to read, in turn; the mailbox has those that come after.
    pub(super) ready: VecDeque<usize>,
    /// Those that wait for a range read.
    pub(super) reading: Vec<usize>,
    /// Notices not yet taken. Bounded, because no command is taken before the last one is done.
    pub(super) outbox: VecDeque<Notice>,
    /// The command under way: one at a time, so that a client's commands are done in order.
    pub(super) work: Option<Work>,
}

impl Agenda {
    /// For adding to it and taking from it.
    pub(super) fn todo(&mut self) -> &mut Todo {
        self.0.get_or_insert_with(|| SPARE.take().unwrap_or_default())
    }

    pub(super) fn say(&mut self, notice: Notice) {
        self.todo().outbox.push_back(notice);
    }

    /// Gives its memory up if nothing is left to do, and answers whether that is so.
    pub(super) fn put_away(&mut self) -> bool {
        if let Some(todo) = self.0.take_if(|todo| todo.is_empty())
            && todo.is_small()
        {
            SPARE.set(Some(todo));
        }
        self.0.is_none()
    }

    /// Whether a command is under way.
    pub(super) fn is_working(&self) -> bool {
        self.0.as_ref().is_some_and(|todo| todo.work.is_some())
    }

    /// How many notices wait.
    pub(super) fn notices(&self) -> usize {
        self.0.as_ref().map_or(0, |todo| todo.outbox.len())
    }
}

impl Todo {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.reading.is_empty() && self.outbox.is_empty() && self.work.is_none()
    }

    fn is_small(&self) -> bool {
        [self.ready.capacity(), self.reading.capacity(), self.outbox.capacity()].iter().all(|n| *n <= SPARED)
    }

    /// What came of the command under way, once it is done.
    pub(super) fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(done)
    }
}

thread_local! {
    /// For whoever has something to do next, so that it need not ask for memory.
    static SPARE: Cell<Option<Box<Todo>>> = const { Cell::new(None) };
}

/// Places in a list that is worth keeping; sessions in many rooms have longer ones.
const SPARED: usize = 64;
