//! A room as far as its members are concerned, and what this node has to say about it.

use super::{
    Members, WAIT,
    fold::{Fold, Word},
    part::Part,
};
use crate::{
    Event, Message, Position, Presence, RoomName,
    policy::{MEMBERS, MEMBERS_AGE},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};

/// A room as far as its members are concerned.
pub(super) struct Room {
    pub(super) presence: Presence,
    pub(super) part: Part,
    pub(super) fold: Fold,
    /// Where the words stand that the fold is made of, once it is up to date: before the last one, and after it.
    pub(super) place: Option<(Position, Position)>,
    /// Told when it is up to date.
    pub(super) known: Arc<Notify>,
    /// For whom it is kept though nobody is in it here.
    pub(super) wanted: usize,
    /// For how many of them each change is handed over.
    pub(super) watched: usize,
    pub(super) hearing: Hearing,
    pub(super) writing: Writing,
    /// The number of the node's own newest word that was heard.
    pub(super) heard: u64,
    /// It is among those to be looked at.
    pub(super) dirty: bool,
    /// When it is looked at again.
    pub(super) due: Option<Instant>,
    /// Until when others that have gone are not said to have gone again.
    pub(super) buried: Option<Instant>,
    /// Words that came after the node's own newest.
    pub(super) words: usize,
}

/// How far the node's own word is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Writing {
    /// It is under way.
    pub(super) busy: bool,
    /// When the last one was begun.
    pub(super) begun: Option<Instant>,
    /// It was stored, and is to be heard by a time: the number of it.
    pub(super) stored: Option<(u64, Instant)>,
}

/// How far the node is with hearing a room's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It does not.
    #[default]
    Not,
    /// It is about to.
    Begins,
    /// What was there when it began ends at this position; none once that has been heard.
    Hears { until: Option<Position> },
}

/// What is to be said in a room.
pub(super) struct Say {
    pub(super) word: Word,
    pub(super) key: String,
}

impl Room {
    pub(super) fn new(presence: Presence) -> Self {
        Self {
            presence,
            part: Part::default(),
            fold: Fold::default(),
            place: None,
            known: Arc::default(),
            wanted: 0,
            watched: 0,
            hearing: Hearing::default(),
            writing: Writing::default(),
            heard: 0,
            dirty: false,
            due: None,
            buried: None,
            words: 0,
        }
    }

    pub(super) fn members(&self) -> Members {
        self.fold.members(self.presence.most_listed())
    }

    /// The members as clients are told of them.
    pub(super) fn value(&self, told: RoomName, before: Position, at: Position) -> Arc<Message> {
        let event = Event::json("presence", &self.members()).expect("a name, and a list of texts is JSON");
        Arc::new(Message::new(told, at, before, event))
    }

    /// The words are known up to here.
    pub(super) fn stand(&mut self, before: Position, at: Position) {
        if self.place.replace((before, at)).is_none() {
            self.known.notify_waiters();
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        (self.fold, self.place, self.hearing) = (Default::default(), None, Hearing::Not);
        (self.words, self.heard, self.writing.stored) = (0, 0, None);
    }

    /// What this node has to say about itself, if anything.
    pub(super) fn own_word(&mut self, me: u64, now: Instant, number: impl FnOnce() -> u64) -> Option<Say> {
        if self.writing.rests(now) {
            return None;
        }
        let told = self.fold.of(me);
        if self.part.is_empty() && told.is_none() {
            return None;
        }
        let (count, users) = self.part.list(self.presence);
        // Not all at the same word: each that is said anew is one more for all others.
        let is_old = self.words >= MEMBERS / 2 + me as usize % (MEMBERS / 8)
            || self.refresh().is_some_and(|at| at <= now);
        if told.is_some_and(|told| told.says(count, &users)) && !is_old {
            return None;
        }
        self.writing = Writing { busy: true, begun: Some(now), stored: None };
        let number = number();
        let word = Word::Here { node: me, number, count, users };
        Some(Say { word, key: format!("here {me:x} {number}") })
    }

    /// When the own word is to be said again, though nothing has changed.
    fn refresh(&self) -> Option<Instant> {
        self.writing.begun.filter(|_| !self.part.is_empty()).map(|begun| begun + MEMBERS_AGE / 3)
    }

    /// That nodes have gone by which somebody was in the room.
    pub(super) fn words_about(&mut self, is_dead: impl Fn(u64) -> bool, me: u64, now: Instant) -> Vec<Say> {
        if self.buried.is_some_and(|until| until > now) {
            return Vec::new();
        }
        let dead = self.fold.nodes().filter(|(node, _)| is_dead(*node));
        let words: Vec<_> = dead
            .map(|(node, number)| Say {
                word: Word::Gone { node, number, by: me },
                key: format!("gone {node:x} {number}"),
            })
            .collect();
        // If that is not heard by then it is said again.
        self.buried = (!words.is_empty()).then_some(now + WAIT);
        words
    }

    /// When it is to be looked at again, if nothing happens before. What is due and not done waits for something else of these,
    /// or for a word under way.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let rests = self.writing.begun.map(|begun| begun + PACE);
        let heard = self.writing.stored.map(|(_, until)| until);
        let all = [self.part.next(), rests, heard, self.refresh(), self.buried];
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Whether nobody has to do with it any more.
    pub(super) fn is_idle(&self, me: u64) -> bool {
        let is_writing = self.writing.busy || self.writing.stored.is_some();
        // One that is being entered is left when it is known what came of that, so that none is entered twice.
        self.hearing != Hearing::Begins
            && self.wanted == 0
            && self.part.is_empty()
            && !is_writing
            && self.fold.of(me).is_none()
    }
}

impl Writing {
    /// Whether nothing is to be written now: one word is under way, or was a moment ago.
    fn rests(&mut self, now: Instant) -> bool {
        self.stored.take_if(|(_, until)| *until <= now);
        self.busy || self.stored.is_some() || self.begun.is_some_and(|begun| begun + PACE > now)
    }
}

/// The least time between two words of a node about one room.
const PACE: Duration = Duration::from_secs(1);
