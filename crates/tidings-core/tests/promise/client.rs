//! A client: the real reader on some node, and a network between them that may break at any moment.

use crate::{broker::Broker, node::Node, world::Tally};
use std::collections::VecDeque;
use tidings_core::{
    From, GapReason, Kind, Position,
    broker::{ReadFrom, Slice},
    reader::{Fill, Given, Reader},
};

#[derive(Default)]
pub(crate) struct Client {
    link: Option<Link>,
    /// What it would come back with: the text of the last position it was given.
    cursor: Option<String>,
    /// The event after which the next must come; none just after a gap.
    last: Option<Position>,
    /// Where the last gap said that things go on.
    after_gap: Option<Position>,
    pub(crate) accepted: u64,
}

pub(crate) struct Link {
    pub(crate) node: usize,
    state: State,
    /// On its way from the node to the client.
    wire: VecDeque<Wire>,
}

enum State {
    /// A range read must say where the reader begins: asked for, then answered as of some moment.
    Beginning(ReadFrom, Option<Slice>),
    Reading(Reader, Option<(ReadFrom, Option<Slice>)>),
}

enum Wire {
    Joined { cursor: Position, recovered: bool },
    Given(Given),
}

impl Client {
    pub(crate) fn node(&self) -> Option<usize> {
        self.link.as_ref().map(|link| link.node)
    }

    /// Connects to a node that knows its room. `fresh`: where to begin without a cursor.
    pub(crate) fn connect(&mut self, at: usize, node: &Node, fresh: From, tally: &mut Tally) {
        if !node.replica.is_known() {
            return;
        }
        let from = match &self.cursor {
            Some(text) => From::After(text.parse().expect("a cursor is read back")),
            None => fresh,
        };
        tally.resumes += u64::from(self.cursor.is_some());
        let mut link =
            Link { node: at, state: State::Beginning(ReadFrom::Start, None), wire: VecDeque::new() };
        match Reader::begin(Kind::Log, from, node.replica.ring()) {
            Ok(reader) => link.begun(reader),
            Err(read) => link.state = State::Beginning(read, None),
        }
        self.link = Some(link);
    }

    /// What is on the wire, and whatever the node had read ahead, is gone.
    pub(crate) fn disconnect(&mut self) {
        self.link = None;
    }

    /// The node's side goes one step on.
    pub(crate) fn step(&mut self, node: &Node, broker: &Broker, limit: usize, tally: &mut Tally) {
        if let Some(link) = &mut self.link {
            link.step(node, broker, limit, tally);
        }
    }

    /// The client takes what is next on the wire. Answers whether there was anything.
    pub(crate) fn receive(&mut self, broker: &Broker, tally: &mut Tally) -> bool {
        let Some(wire) = self.link.as_mut().and_then(|link| link.wire.pop_front()) else { return false };
        match wire {
            Wire::Joined { cursor, recovered } => match &self.cursor {
                Some(known) => {
                    assert_eq!(*known, cursor.to_string(), "joined elsewhere; recovered: {recovered}")
                }
                None => {
                    assert!(recovered, "nobody who is new misses anything");
                    self.cursor = Some(cursor.to_string());
                    self.last = Some(cursor);
                }
            },
            Wire::Given(Given::Gap { id, reason }) => {
                match reason {
                    GapReason::Trimmed => tally.trimmed += 1,
                    GapReason::Slow => tally.slow += 1,
                    _ => tally.epoch += 1,
                }
                if let Some(last) = self.last.filter(|_| reason != GapReason::Epoch) {
                    assert!(
                        id.epoch == last.epoch && id.offset > last.offset,
                        "{reason} from {last} to {id}"
                    );
                }
                self.cursor = Some(id.to_string());
                self.last = None;
                self.after_gap = Some(id);
            }
            Wire::Given(Given::End { .. }) => panic!("no room ends here"),
            Wire::Given(Given::Message(message)) => {
                let position = message.position();
                let before = broker.predecessors[&position];
                let expected = self.last.or(self.after_gap).expect("joined before any event");
                assert_eq!(
                    before, expected,
                    "{position} came after {expected}, but was published after {before}"
                );
                assert_eq!(message.follows(), before);
                self.cursor = Some(position.to_string());
                self.last = Some(position);
                self.accepted += 1;
                tally.events += 1;
            }
        }
        true
    }

    pub(crate) fn has_caught_up(&self, broker: &Broker) -> bool {
        self.cursor.as_deref() == Some(&*broker.head().to_string())
    }
}

impl Link {
    fn begun(&mut self, reader: Reader) {
        self.wire.push_back(Wire::Joined { cursor: reader.cursor(), recovered: !reader.is_before_gap() });
        self.state = State::Reading(reader, None);
    }

    fn step(&mut self, node: &Node, broker: &Broker, limit: usize, tally: &mut Tally) {
        match &mut self.state {
            State::Beginning(read, answer @ None) => *answer = Some(broker.read(*read, limit)),
            State::Beginning(read, answer) => {
                let slice = answer.take().expect("answered");
                let reader = Reader::begin_with(Kind::Log, *read, slice, 1_000);
                self.begun(reader);
            }
            State::Reading(_, Some((read, answer @ None))) => *answer = Some(broker.read(*read, limit)),
            State::Reading(reader, read @ Some(_)) => {
                let (_, answer) = read.take().expect("under way");
                reader.read(answer.expect("answered"), 1_000);
            }
            State::Reading(reader, read) => match reader.give() {
                Some(given) => self.wire.push_back(Wire::Given(given)),
                None => {
                    if let Fill::Read(from) = reader.fill(node.replica.ring(), 1_000) {
                        tally.deep += 1;
                        *read = Some((from, None));
                    }
                }
            },
        }
    }
}
