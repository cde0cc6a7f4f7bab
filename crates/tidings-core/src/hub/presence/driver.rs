//! The one task of a node that tends to the rooms whose members are told.

use super::{
    Presences, Room, Tended, WAIT,
    fold::Word,
    journal::{self, Journal, OPEN, Sweep},
    nodes::{BEAT, Nodes, Sign},
};
use crate::{
    Event, Message, Notice, Position, RoomName,
    broker::{Broker, BrokerError, Publish, Sink},
    hub::{Node, jitter},
    policy::{MEMBERS, MEMBERS_AGE, Rules},
    session::{Ears, Heard, Item, Mailbox},
};
use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

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

/// What the task has at hand.
struct Driver {
    node: Weak<Node>,
    presences: Arc<Presences>,
    rules: Arc<Rules>,
    broker: Arc<dyn Broker>,
    ears: Ears,
    /// Rooms that are being entered.
    entering: JoinSet<(RoomName, Heard)>,
    writing: JoinSet<Written>,
    /// Rooms that are to be looked at later: each once, by its own account.
    later: BTreeSet<(Instant, RoomName)>,
    signs: Hearing,
    nodes: Nodes,
    /// Those that have gone, as the rooms where they had somebody were told.
    dead: HashSet<u64>,
    /// When to see to the nodes, if to any.
    tick: Option<Instant>,
    beat: Instant,
    beating: bool,
    /// What another is to find when this node has gone, if the application wants to be told of users who have.
    journal: Option<Journal>,
    /// What is done about others that have gone.
    sweeps: Vec<Sweep>,
    /// Since when no room was tended.
    idle: Option<Instant>,
    /// The broker takes nothing, and is to be left alone until a time; the next time for so long.
    rest: Option<Instant>,
    pause: Duration,
}

/// What was to be stored, and whether it was.
enum Written {
    Here {
        room: RoomName,
        number: u64,
        stored: bool,
    },
    Gone {
        stored: bool,
    },
    Sign {
        stored: bool,
    },
    /// A list of the node's rooms.
    List {
        list: u8,
        stored: bool,
    },
    /// The lists of one that has gone, and the rooms in them, if they could be read.
    Lists {
        node: u64,
        read: Option<(Vec<u8>, VecDeque<RoomName>)>,
    },
    /// They are empty now, or not.
    Cleared {
        node: u64,
        stored: bool,
    },
}

/// What is to be said in a room.
struct Say {
    word: Word,
    key: String,
}

impl Node {
    /// Begins to tend to the rooms whose members are told, if any are.
    pub(in crate::hub) fn tend(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let (Some(presences), Some(broker)) = (&self.presences, &self.words) else { return };
        let ears = Ears::new(Arc::downgrade(self));
        presences.begin(Arc::clone(ears.mailbox()));
        let now = Instant::now();
        let driver = Driver {
            node: Arc::downgrade(self),
            presences: Arc::clone(presences),
            rules: Arc::clone(&self.rules),
            broker: Arc::clone(broker),
            ears,
            entering: JoinSet::new(),
            writing: JoinSet::new(),
            later: BTreeSet::new(),
            signs: Hearing::Not,
            nodes: Nodes::new(presences.me, now),
            dead: HashSet::new(),
            tick: None,
            beat: now,
            beating: false,
            journal: self.offline.is_some().then(Journal::default),
            sweeps: Vec::new(),
            idle: None,
            rest: None,
            pause: FIRST_PAUSE,
        };
        runtime.spawn(driver.run());
    }
}

impl Driver {
    async fn run(mut self) {
        while let Some(now) = self.turn() {
            let wake = [self.tick, self.rest, self.later.first().map(|(at, _)| *at)];
            let wake = wake.into_iter().flatten().min().unwrap_or(now + A_LONG_TIME);
            tokio::select! {
                item = self.ears.next() => match item {
                    Some(item) => self.hear(item),
                    None => break,
                },
                Some(entered) = self.entering.join_next() => match entered {
                    Ok((room, heard)) => self.admit(&room, heard),
                    Err(error) => self.begin_again(&error),
                },
                Some(written) = self.writing.join_next() => match written {
                    Ok(written) => self.note(written),
                    Err(error) => self.begin_again(&error),
                },
                () = self.presences.work.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
        self.say_goodbye().await;
    }

    /// Does what there is to do, and answers what time it is; none if the node has ended.
    fn turn(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.presences.rooms.lock().ended {
            return None;
        }
        self.tend_to_nodes(now);
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, room)) = self.later.pop_first() {
                self.presences.change_known(&room, |room| room.due = None);
            }
        }
        if self.rest.is_some_and(|until| until > now) {
            return Some(now);
        }
        self.rest = None;
        // What a room's members are must not be said before it is known who says it.
        while self.signs == (Hearing::Hears { until: None }) && self.writing.len() < WRITES {
            let Some(room) = self.presences.take_dirty() else { break };
            self.look(&room, now);
        }
        Some(now)
    }

    /// Sees to a room.
    fn look(&mut self, name: &RoomName, now: Instant) {
        let (me, nodes) = (self.presences.me, &self.nodes);
        let mut say = Vec::new();
        let mut enter = false;
        let mut rooms = self.presences.rooms.lock();
        let Some(room) = rooms.by_name.get_mut(name) else { return };
        room.part.expire(now);
        match room.hearing {
            Hearing::Not => {
                (room.hearing, enter) = (Hearing::Begins, true);
            }
            Hearing::Hears { until: None } => {
                let number = || self.presences.number.fetch_add(1, Relaxed);
                say.extend(room.own_word(me, now, number));
                say.extend(room.words_about(|node| nodes.is_dead(node, now), me, now));
            }
            Hearing::Begins | Hearing::Hears { until: Some(_) } => {}
        }
        if let Some(journal) = &mut self.journal {
            journal.set(name, !room.part.is_empty() || room.fold.of(me).is_some());
        }
        let due = room.next(now);
        if room.due != due {
            let before = std::mem::replace(&mut room.due, due);
            before.map(|at| self.later.remove(&(at, name.clone())));
            self.later.extend(due.map(|at| (at, name.clone())));
        }
        if room.is_idle(me) {
            let due = room.due;
            rooms.by_name.remove(name);
            rooms.shrink();
            drop(rooms);
            due.map(|at| self.later.remove(&(at, name.clone())));
            self.ears.leave(&name.members());
            return;
        }
        drop(rooms);
        if enter {
            self.enter(name.members());
        }
        for Say { word, key } in say {
            self.say(name, word, key);
        }
    }

    fn enter(&mut self, room: RoomName) {
        let heard = self.ears.enter(room.clone());
        self.entering.spawn(async move { (room, heard.await) });
    }

    fn say(&mut self, room: &RoomName, word: Word, key: String) {
        let event = Event::json("word", &word).expect("a name, and numbers and texts are JSON");
        let members = room.members();
        let rooms = self.rules.of(&members).rooms;
        let publish = Publish { room: members, event, key: Some(key), rooms };
        let (broker, room) = (Arc::clone(&self.broker), room.clone());
        self.writing.spawn(async move {
            let stored = store(&*broker, publish).await;
            match word {
                Word::Here { number, .. } => Written::Here { room, number, stored },
                Word::Gone { .. } => Written::Gone { stored },
            }
        });
    }

    fn note(&mut self, written: Written) {
        let stored = match written {
            Written::Sign { stored } => {
                self.beating = false;
                if !stored {
                    self.beat = Instant::now();
                }
                return;
            }
            Written::Gone { stored } => stored,
            Written::List { list, stored } => {
                self.journal.iter_mut().for_each(|journal| journal.note(list, stored));
                stored
            }
            Written::Lists { node, read } => {
                let sweep = self.sweeps.iter_mut().find(|sweep| sweep.node == node);
                match (sweep, read) {
                    (Some(sweep), Some((lists, rooms))) => {
                        (sweep.lists, sweep.rooms, sweep.read) = (lists, rooms, true);
                    }
                    (Some(sweep), None) => (sweep.at, sweep.begun) = (Instant::now() + WAIT, false),
                    (None, _) => {}
                }
                return;
            }
            Written::Cleared { node, stored } => {
                if !stored {
                    self.sweeps.push(Sweep::new(node, Instant::now() + WAIT));
                }
                return;
            }
            Written::Here { room, number, stored } => {
                let (me, now) = (self.presences.me, Instant::now());
                self.presences.change_known(&room, |room| {
                    room.writing.busy = false;
                    let is_heard = room.heard >= number;
                    room.writing.stored = (stored && !is_heard).then_some((number, now + WAIT));
                    tracing::trace!(node = me, number, stored, "a word about a room's members");
                });
                stored
            }
        };
        if stored {
            self.pause = FIRST_PAUSE;
        } else {
            self.rest = Some(Instant::now() + jitter(self.pause));
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
    }

    /// Begins to hear a room, unless it is not wanted any more.
    fn admit(&mut self, room: &RoomName, heard: Heard) {
        let Some(told) = room.members_of() else {
            self.signs = match self.ears.admit(heard, self.tick.is_some()) {
                Some((some, until)) => Hearing::Hears { until: some.then_some(until) },
                None => Hearing::Not,
            };
            return;
        };
        let begins = |room: &mut Room| room.hearing == Hearing::Begins;
        let wanted = self.presences.with(&told, begins).unwrap_or_default();
        let begun = self.ears.admit(heard, wanted);
        if !wanted {
            return;
        }
        let now = Instant::now();
        let Some((some, until)) = begun else {
            // There are too many rooms. Later there may be fewer.
            self.presences.with(&told, |room| {
                room.hearing = Hearing::Not;
                if room.due.is_none() {
                    room.due = Some(now + WAIT);
                    self.later.insert((now + WAIT, told.clone()));
                }
            });
            return;
        };
        self.presences.change_known(&told, |room| {
            room.hearing = Hearing::Hears { until: some.then_some(until) };
            if !some {
                room.stand(until, until);
            }
        });
    }

    fn hear(&mut self, item: Item) {
        match item {
            Item::Message(message) => match message.room().members_of() {
                Some(room) => self.hear_word(&room, &message),
                None => self.hear_sign(&message),
            },
            Item::Notice(Notice::Gap { room, .. }) => match room.members_of() {
                Some(told) => self.miss(&told),
                None => {
                    self.nodes.spare(Instant::now());
                    self.signs = Hearing::Hears { until: None };
                }
            },
            Item::Notice(_) => {}
        }
    }

    fn hear_sign(&mut self, message: &Message) {
        let now = Instant::now();
        match message.event().parse::<Sign>() {
            Ok(sign) => {
                if let (Sign::Swept { node }, Some(journal)) = (sign, &mut self.journal)
                    && node == self.presences.me
                {
                    journal.forget();
                }
                self.nodes.take(sign, now);
            }
            Err(error) => tracing::debug!("a node's sign of life is not understood: {error}"),
        }
        let position = message.position();
        if self.signs == (Hearing::Hears { until: Some(position) }) {
            self.signs = Hearing::Hears { until: None };
        }
        let nodes = &self.nodes;
        self.dead.retain(|node| nodes.is_dead(*node, now));
    }

    fn hear_word(&mut self, name: &RoomName, message: &Message) {
        let word = message.event().parse::<Word>();
        let word =
            word.inspect_err(|error| tracing::debug!("a word about members is not understood: {error}"));
        let said = word.as_ref().ok().and_then(|word| match word {
            Word::Here { node, .. } => Some(*node),
            Word::Gone { .. } => None,
        });
        let (me, before, at) = (self.presences.me, message.follows(), message.position());
        let mut left = Vec::new();
        let mut value = None;
        let mut was_known = false;
        self.presences.change_known(name, |room| {
            room.words += 1;
            if let Ok(word) = word {
                if let Word::Here { node, number, .. } = &word
                    && *node == me
                {
                    room.words = 0;
                    room.heard = room.heard.max(*number);
                    room.writing.stored.take_if(|(stored, _)| *stored <= *number);
                }
                left = room.fold.take(word, me);
            }
            was_known = room.hearing == Hearing::Hears { until: None };
            if was_known || room.hearing == (Hearing::Hears { until: Some(at) }) {
                room.hearing = Hearing::Hears { until: None };
                room.stand(before, at);
            }
            if !was_known {
                // They left before this node had to do with it.
                left.clear();
            } else if room.watched > 0
                && let Ok(told) = RoomName::of_presence(name)
            {
                value = Some(room.value(told, before, at));
            }
        });
        if let Some(said) = said {
            self.nodes.meet(said, was_known, Instant::now());
        }
        let Some(node) = self.node.upgrade() else { return };
        if let Some(value) = value {
            node.live(value);
        }
        if let Some(offline) = &node.offline {
            left.into_iter().for_each(|user| offline.tell(&node, user, name.clone()));
        }
    }

    /// Words about a room were missed: it is heard from the beginning again.
    fn miss(&mut self, name: &RoomName) {
        self.ears.leave(&name.members());
        let watched = self.presences.with(name, |room| {
            room.forget();
            room.watched > 0
        });
        self.presences.rooms.lock().touch(name);
        if let (Some(true), Some(node), Ok(told)) =
            (watched, self.node.upgrade(), RoomName::of_presence(name))
        {
            node.lost(Some(&told));
        }
    }

    /// A broker has panicked, and it is not known with what.
    fn begin_again(&mut self, error: &JoinError) {
        tracing::error!("the broker has failed: {error}");
        self.ears = Ears::new(Weak::clone(&self.node));
        (self.entering, self.writing) = (JoinSet::new(), JoinSet::new());
        self.later.clear();
        self.sweeps.drain(..).flat_map(|sweep| sweep.open).for_each(|room| self.presences.unwant(&room));
        self.journal = self.journal.take().map(|_| Journal::default());
        (self.signs, self.tick, self.beating) = (Hearing::Not, None, false);
        self.dead.clear();
        self.rest = Some(Instant::now() + LAST_PAUSE);
        self.presences.begin(Arc::clone(self.ears.mailbox()));
    }

    /// Gives signs of life while there are rooms to be tended, and hears those of others.
    fn tend_to_nodes(&mut self, now: Instant) {
        // Whoever wants to be told of users hears of nodes that have gone, whether anybody is here or not.
        let is_idle = self.journal.is_none() && self.presences.rooms.lock().by_name.is_empty();
        let Some(tick) = self.tick else {
            if !is_idle {
                (self.tick, self.beat, self.idle) = (Some(now), now, None);
                (self.signs, self.nodes) = (Hearing::Begins, Nodes::new(self.presences.me, now));
                self.enter(RoomName::nodes());
            }
            return;
        };
        if tick > now {
            return;
        }
        self.tick = Some(now + TICK);
        if is_idle {
            if now.saturating_duration_since(*self.idle.get_or_insert(now)) >= IDLE
                && self.signs == (Hearing::Hears { until: None })
            {
                self.ears.leave(&RoomName::nodes());
                (self.tick, self.signs) = (None, Hearing::Not);
            }
            return;
        }
        self.idle = None;
        if self.signs == Hearing::Not {
            self.signs = Hearing::Begins;
            self.enter(RoomName::nodes());
        }
        if self.beat <= now && !self.beating {
            (self.beat, self.beating) = (now + BEAT, true);
            let (broker, sign) =
                (Arc::clone(&self.broker), self.sign(Sign::Alive { node: self.presences.me }));
            self.writing.spawn(async move {
                Written::Sign { stored: matches!(timeout(BEAT, broker.publish(sign)).await, Ok(Ok(_))) }
            });
        }
        let newly: Vec<_> = self.nodes.dead(now).into_iter().filter(|node| self.dead.insert(*node)).collect();
        if !newly.is_empty() {
            tracing::info!(nodes = ?newly, "nodes have gone");
            let mut rooms = self.presences.rooms.lock();
            let has = |room: &Room| newly.iter().any(|node| room.fold.of(*node).is_some());
            let with = rooms.by_name.iter().filter(|(_, room)| has(room));
            let with: Vec<_> = with.map(|(name, _)| name.clone()).collect();
            with.iter().for_each(|name| rooms.touch(name));
        }
        if self.journal.is_some() {
            self.sweeps.extend(newly.into_iter().map(|node| Sweep::new(node, now)));
            let mut sweeps = std::mem::take(&mut self.sweeps);
            sweeps.retain_mut(|sweep| self.sweep(sweep, now));
            self.sweeps = sweeps;
        }
        self.write_lists();
    }

    /// Writes down in which rooms this node has somebody.
    fn write_lists(&mut self) {
        while let Some((list, event)) = self.journal.as_mut().and_then(Journal::next) {
            let room = RoomName::journal(self.presences.me, list);
            let rooms = self.rules.of(&room).rooms;
            let (broker, publish) = (Arc::clone(&self.broker), Publish { room, event, key: None, rooms });
            self.writing.spawn(async move {
                let stored = matches!(timeout(WAIT, broker.publish(publish)).await, Ok(Ok(_)));
                Written::List { list, stored }
            });
        }
    }

    /// Sees to the rooms of a node that has gone. Answers whether there is more to be done.
    fn sweep(&mut self, sweep: &mut Sweep, now: Instant) -> bool {
        if self.nodes.is_deaf(now) {
            return true;
        }
        let node = sweep.node;
        if !self.nodes.is_dead(node, now) {
            // It is there again, or another has done it.
            sweep.open.drain(..).for_each(|room| self.presences.unwant(&room));
            return false;
        }
        let rooms = self.rules.of(&RoomName::journal(node, 0)).rooms;
        let broker = Arc::clone(&self.broker);
        if !sweep.begun {
            if sweep.at <= now && self.nodes.rank(now) > 0 && sweep.waited < journal::TURNS {
                (sweep.at, sweep.waited) = (now + journal::TURN, sweep.waited + 1);
            }
            if sweep.at <= now {
                sweep.begun = true;
                self.writing.spawn(async move {
                    let read = timeout(WAIT, journal::read(&*broker, node, rooms)).await;
                    Written::Lists { node, read: read.ok().and_then(Result::ok) }
                });
            }
            return true;
        }
        let presences = &self.presences;
        sweep.open.retain(|room| {
            let is_done = |room: &mut Room| room.place.is_some() && room.fold.of(node).is_none();
            let done = presences.with(room, is_done).unwrap_or(true);
            if done {
                presences.unwant(room);
            }
            !done
        });
        while sweep.open.len() < OPEN
            && let Some(room) = sweep.rooms.pop_front()
        {
            let Some(presence) = self.rules.of(&room).rooms.presence_policy() else { continue };
            presences.change(&room, presence, |room| {
                room.wanted += 1;
                true
            });
            sweep.open.push(room);
        }
        if !sweep.read || !sweep.open.is_empty() {
            return true;
        }
        let (lists, swept) = (std::mem::take(&mut sweep.lists), self.sign(Sign::Swept { node }));
        self.writing.spawn(async move {
            let done = async {
                journal::clear(&*broker, node, &lists, rooms).await?;
                broker.publish(swept).await
            };
            Written::Cleared { node, stored: matches!(timeout(WAIT, done).await, Ok(Ok(_))) }
        });
        false
    }

    fn sign(&self, sign: Sign) -> Publish {
        let event = Event::json("sign", &sign).expect("a name, and numbers are JSON");
        let room = RoomName::nodes();
        let rooms = self.rules.of(&room).rooms;
        Publish { room, event, key: None, rooms }
    }

    /// Says that the node ends, so that nobody need wait for its lease.
    async fn say_goodbye(mut self) {
        self.writing.abort_all();
        if self.tick.is_some() {
            let grace = self.rules.classes().filter_map(|class| class.rooms.presence_policy());
            let grace = grace.map(|presence| presence.grace_time()).max().unwrap_or_default();
            let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let bye = self.sign(Sign::Bye { node: self.presences.me, grace });
            if !matches!(timeout(GOODBYE, self.broker.publish(bye)).await, Ok(Ok(_))) {
                tracing::debug!("the others are not told that this node ends; they find out");
            }
        }
        self.presences.finish();
    }
}

/// Stores a word, once; false if it was not.
async fn store(broker: &dyn Broker, publish: Publish) -> bool {
    for _ in 0..TRIES {
        match timeout(WAIT, broker.publish(publish.clone())).await {
            Ok(Ok(_)) => return true,
            Ok(Err(BrokerError::Unavailable(_))) => return false,
            // It may be, and would come after a later one; with its key it is stored once.
            Ok(Err(BrokerError::Unknown(_))) | Err(_) => sleep(jitter(FIRST_PAUSE)).await,
        }
    }
    false
}

impl Presences {
    /// One who tends to the rooms begins, where the last one has stopped.
    fn begin(&self, mailbox: Arc<Mailbox>) {
        *self.mailbox.lock() = Some(mailbox);
        let mut rooms = self.rooms.lock();
        rooms.running = true;
        let Tended { by_name, dirty, .. } = &mut *rooms;
        dirty.clear();
        for (name, room) in by_name {
            room.forget();
            (room.writing.busy, room.due, room.dirty) = (false, None, true);
            dirty.push_back(name.clone());
        }
    }

    fn take_dirty(&self) -> Option<RoomName> {
        let mut rooms = self.rooms.lock();
        let name = rooms.dirty.pop_front()?;
        if let Some(room) = rooms.by_name.get_mut(&name) {
            room.dirty = false;
        }
        Some(name)
    }

    /// Changes a room, if it is tended, and has it looked at.
    fn change_known(&self, name: &RoomName, f: impl FnOnce(&mut Room)) {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.by_name.get_mut(name) {
            f(room);
            rooms.touch(name);
        }
    }
}

impl Room {
    /// The words are known up to here.
    fn stand(&mut self, before: Position, at: Position) {
        if self.place.replace((before, at)).is_none() {
            self.known.notify_waiters();
        }
    }

    /// Nothing is known any more.
    fn forget(&mut self) {
        (self.fold, self.place, self.hearing) = (Default::default(), None, Hearing::Not);
        (self.words, self.heard, self.writing.stored) = (0, 0, None);
    }

    /// What this node has to say about itself, if anything.
    fn own_word(&mut self, me: u64, now: Instant, number: impl FnOnce() -> u64) -> Option<Say> {
        if self.writing.rests(now) {
            return None;
        }
        let told = self.fold.of(me);
        if self.part.is_empty() && told.is_none() {
            return None;
        }
        let (count, users) = self.part.list(self.presence);
        let is_old = self.words >= MEMBERS / 4 || self.refresh().is_some_and(|at| at <= now);
        if told.is_some_and(|told| told.says(count, &users)) && !is_old {
            return None;
        }
        self.writing = super::Writing { busy: true, begun: Some(now), stored: None };
        let number = number();
        let word = Word::Here { node: me, number, count, users };
        Some(Say { word, key: format!("here {me:x} {number}") })
    }

    /// When the own word is to be said again, though nothing has changed.
    fn refresh(&self) -> Option<Instant> {
        self.writing.begun.filter(|_| !self.part.is_empty()).map(|begun| begun + MEMBERS_AGE / 3)
    }

    /// That nodes have gone by which somebody was in the room.
    fn words_about(&mut self, is_dead: impl Fn(u64) -> bool, me: u64, now: Instant) -> Vec<Say> {
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
    fn next(&self, now: Instant) -> Option<Instant> {
        let rests = self.writing.begun.map(|begun| begun + PACE);
        let heard = self.writing.stored.map(|(_, until)| until);
        let all = [self.part.next(), rests, heard, self.refresh(), self.buried];
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Whether nobody has to do with it any more.
    fn is_idle(&self, me: u64) -> bool {
        let is_writing = self.writing.busy || self.writing.stored.is_some();
        self.wanted == 0 && self.part.is_empty() && !is_writing && self.fold.of(me).is_none()
    }
}

impl super::Writing {
    /// Whether nothing is to be written now: one word is under way, or was a moment ago.
    fn rests(&mut self, now: Instant) -> bool {
        self.stored.take_if(|(_, until)| *until <= now);
        self.busy || self.stored.is_some() || self.begun.is_some_and(|begun| begun + PACE > now)
    }
}

/// The least time between two words of a node about one room.
const PACE: Duration = Duration::from_secs(1);
/// Words under way at once.
const WRITES: usize = 64;
/// So often one is stored whose fate is not known: for less than the time that a broker knows its key.
const TRIES: usize = 12;
/// How long a broker that takes nothing is left alone.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// So often it is looked which nodes are alive.
const TICK: Duration = Duration::from_secs(1);
/// After so long without a room to be tended the signs of others are not heard any more.
const IDLE: Duration = Duration::from_secs(60);
/// How long a node that ends may take to say so.
const GOODBYE: Duration = Duration::from_secs(1);
const A_LONG_TIME: Duration = Duration::from_secs(86_400);
