//! A model client: what it receives, and what it must never receive.

use crate::{
    broker::ModelBroker,
    counts::Counts,
    session::{Frame, Session},
};
use std::sync::Arc;
use tidings_core::{From, GapReason, Kind, Message, Position};

/// Whether what was seen keeps the promise; if not, what was seen.
pub(crate) type Verdict = Result<(), String>;

/// A client. It knows nothing but what it has received.
///
/// What it checks, by kind of room:
/// - log: a message is the direct successor, in some branch that was the broker's history once, of where the client
///   stands: the message before, the position of a gap, or the cursor it joined at. A gap because of trimming or
///   slowness leads forward within the epoch. A message comes twice only if a gap of reason `epoch` was told in
///   between, for such a gap means that the application forgets what it knew;
/// - latest: a message is newer than where the client stands, and there is no gap but that of an epoch;
/// - ephemeral: no gap, and within one session messages in the order they were published, none twice.
pub(crate) struct Client {
    pub(crate) session: Option<Session>,
    /// Where it stands by what it has received. None: it has no cursor.
    pub(crate) at: Option<Position>,
    /// The last message it has received.
    pub(crate) last: Option<Position>,
    /// By tag, whether the message was received since the last gap of reason `epoch`.
    seen: Vec<bool>,
    /// It was told that it is not recovered: a gap must come.
    owed_gap: bool,
    /// What it asked for.
    asked: From,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { session: None, at: None, last: None, seen: Vec::new(), owed_gap: false, asked: From::Now }
    }

    /// Loses its cursor and all it knows: another client in its place.
    pub(crate) fn forget(&mut self, counts: &mut Counts) {
        self.disconnect(counts);
        *self = Self::new();
    }

    /// The connection breaks; what is in flight is gone.
    pub(crate) fn disconnect(&mut self, counts: &mut Counts) {
        if let Some(session) = self.session.take() {
            counts.cut += session.wire.len() as u64;
            let gaps = session.wire.iter().filter(|frame| matches!(frame, Frame::Gap { .. }));
            counts.cut_gaps += gaps.count() as u64;
        }
    }

    /// From where it asks to go on: by the text of its cursor, as a client has it.
    pub(crate) fn wish(&self, fresh: From) -> Result<From, String> {
        let Some(at) = self.at else { return Ok(fresh) };
        let text = at.to_string();
        let position = text.parse().map_err(|_| format!("its own cursor {text} is not understood"))?;
        Ok(From::After(position))
    }

    pub(crate) fn connected(&mut self, kind: Kind, asked: From, session: Session) {
        self.asked = asked;
        self.owed_gap = false;
        self.session = Some(session);
        if kind == Kind::Ephemeral {
            (self.at, self.last) = (None, None);
        }
    }

    /// Takes the next frame in flight, and checks it.
    pub(crate) fn receive(
        &mut self,
        kind: Kind,
        calm: bool,
        broker: &ModelBroker,
        counts: &mut Counts,
    ) -> Result<bool, String> {
        let Some(frame) = self.session.as_mut().and_then(|session| session.wire.pop_front()) else {
            return Ok(false);
        };
        let owed = std::mem::take(&mut self.owed_gap);
        if owed && !matches!(frame, Frame::Gap { .. }) {
            return Err(format!("not recovered, but {frame:?} instead of a gap"));
        }
        match frame {
            Frame::Joined { cursor, recovered } => self.joined(kind, calm, cursor, recovered, broker)?,
            Frame::Gap { .. } if calm => {
                return Err("a gap though nothing was ever trimmed or rewritten".into());
            }
            Frame::Gap { id, reason } => {
                counts.gap(reason);
                self.gap(kind, id, reason, broker)?;
            }
            Frame::End { id } => {
                counts.ended += 1;
                let is_last = broker.event(id).is_some_and(|message| message.event().is_last());
                if kind != Kind::Ephemeral && (self.at != Some(id) || !is_last) {
                    return Err(format!("told of an end at {id}, stands at {:?}", self.at));
                }
            }
            Frame::Message(message) => {
                counts.accepted += 1;
                self.message(kind, &message, broker)?;
            }
        }
        Ok(true)
    }

    fn joined(
        &mut self,
        kind: Kind,
        calm: bool,
        cursor: Position,
        recovered: bool,
        broker: &ModelBroker,
    ) -> Verdict {
        match (kind, self.asked) {
            (Kind::Log, From::After(asked)) if cursor != asked => {
                return Err(format!("joined at {cursor}, asked for {asked}"));
            }
            (Kind::Latest, From::After(asked))
                if cursor.epoch != asked.epoch || cursor.offset < asked.offset =>
            {
                return Err(format!("joined at {cursor}, which is before {asked}"));
            }
            (Kind::Log, From::Start) if calm && cursor != broker.origin() => {
                return Err(format!("joined at {cursor}, not at the start"));
            }
            _ => {}
        }
        if !broker.knows(cursor) {
            return Err(format!("joined at {cursor}, where nothing ever was"));
        }
        self.at = Some(cursor);
        self.owed_gap = !recovered;
        Ok(())
    }

    fn gap(&mut self, kind: Kind, id: Position, reason: GapReason, broker: &ModelBroker) -> Verdict {
        let Some(at) = self.at else { return Err("a gap before it joined".into()) };
        if !broker.knows(id) {
            return Err(format!("a gap to {id}, where nothing ever was"));
        }
        match (kind, reason) {
            (Kind::Log | Kind::Latest, GapReason::Epoch) => self.seen.fill(false),
            (Kind::Log, _) if id.epoch == at.epoch && id.offset > at.offset => {}
            (Kind::Log, _) => return Err(format!("a gap ({reason}) from {at} to {id} is not forward")),
            _ => return Err(format!("a gap ({reason}) in a room of kind {kind:?}")),
        }
        self.at = Some(id);
        Ok(())
    }

    fn message(&mut self, kind: Kind, message: &Arc<Message>, broker: &ModelBroker) -> Verdict {
        let position = message.position();
        let Some(event) = broker.event(position).filter(|event| Arc::ptr_eq(event, message)) else {
            return Err(format!("{position} was never published"));
        };
        let Some(at) = self.at else { return Err("a message before it joined".into()) };
        match kind {
            Kind::Log if event.follows() != at => {
                let follows = event.follows();
                return Err(format!(
                    "{position} follows {follows}, but the client stands at {at}: a silent gap"
                ));
            }
            Kind::Latest if position.epoch != at.epoch || position.offset <= at.offset => {
                return Err(format!("{position} after {at}: it goes back"));
            }
            // Tags count the events of the run.
            Kind::Ephemeral if self.last.is_some_and(|last| last.tag >= position.tag) => {
                return Err(format!("{position} after {:?}: a repeat, or out of order", self.last));
            }
            _ => {}
        }
        let tag = usize::from(position.tag);
        if self.seen.len() <= tag {
            self.seen.resize(tag + 64, false);
        }
        if std::mem::replace(&mut self.seen[tag], true) && kind != Kind::Ephemeral {
            return Err(format!("{position} came twice"));
        }
        self.at = Some(position);
        self.last = Some(position);
        Ok(())
    }
}
