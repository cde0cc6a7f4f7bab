//! The one task of a node that tends to the rooms whose members are told.

use super::{
    Presences, WAIT,
    fold::Word,
    journal::{Journal, Sweep},
    nodes::{Nodes, Sign},
    room::{Hearing, Room, Say},
};
use crate::{
    Event, Message, Notice, RoomName,
    broker::{Broker, BrokerError, Publish, Sink},
    hub::{Node, jitter},
    policy::Rules,
    session::{Ears, Heard, Item},
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

/// What the task has at hand.
pub(super) struct Driver {
    pub(super) node: Weak<Node>,
    pub(super) presences: Arc<Presences>,
    pub(super) rules: Arc<Rules>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) ears: Ears,
    /// Rooms that are being entered.
    pub(super) entering: JoinSet<(RoomName, Heard)>,
    pub(super) writing: JoinSet<Written>,
    /// Rooms that are to be looked at later: each once, by its own account.
    pub(super) later: BTreeSet<(Instant, RoomName)>,
    pub(super) signs: Hearing,
    pub(super) nodes: Nodes,
    /// Those that have gone, as the rooms where they had somebody were told.
    pub(super) dead: HashSet<u64>,
    /// When to see to the nodes, if to any.
    pub(super) tick: Option<Instant>,
    pub(super) beat: Instant,
    pub(super) beating: bool,
    /// What another is to find when this node has gone, if the application wants to be told of users who have.
    pub(super) journal: Option<Journal>,
    /// When all of it was last written.
    pub(super) renewed: Instant,
    /// What is done about others that have gone.
    pub(super) sweeps: Vec<Sweep>,
    /// Since when no room was tended.
    pub(super) idle: Option<Instant>,
    /// The broker takes nothing, and is to be left alone until a time; the next time for so long.
    pub(super) rest: Option<Instant>,
    pub(super) pause: Duration,
}

/// What was to be stored, and whether it was.
pub(super) enum Written {
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
            renewed: now,
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
                enter = !room.is_idle(me);
                if enter {
                    room.hearing = Hearing::Begins;
                }
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

    pub(super) fn enter(&mut self, room: RoomName) {
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
                    // Some of its lists may be empty, and it must hear of that, be it there again or not.
                    self.sweeps.push(Sweep { owed: true, ..Sweep::new(node, Instant::now() + WAIT) });
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
                    // A broker that has lost the signs may have lost what was written down.
                    self.journal.iter_mut().for_each(Journal::forget);
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
                if let (Sign::Swept { node } | Sign::Emptied { node }, Some(journal)) =
                    (sign, &mut self.journal)
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
        let (mut left, mut met) = (Vec::new(), Vec::new());
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
                if !was_known {
                    // Of those who have spoken in the past, only they count by whom somebody is left.
                    met.extend(room.fold.nodes().map(|(node, _)| node));
                }
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
        if was_known {
            met.extend(said);
        }
        met.into_iter().for_each(|node| self.nodes.meet(node, was_known, Instant::now()));
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

    pub(super) fn sign(&self, sign: Sign) -> Publish {
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

/// Words under way at once.
const WRITES: usize = 64;
/// So often one is stored whose fate is not known: for less than the time that a broker knows its key.
const TRIES: usize = 12;
/// How long a broker that takes nothing is left alone.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How long a node that ends may take to say so.
const GOODBYE: Duration = Duration::from_secs(1);
const A_LONG_TIME: Duration = Duration::from_secs(86_400);
