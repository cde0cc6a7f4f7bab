//! Documents: of each the merged updates of its room, up to a position.
//!
//! Members publish updates into the room, and the server reads the room as they do: every update once and in order. So it
//! can say of its state exactly where it stands, and who opens the document takes the state and joins from there.

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    panic::{UnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidings::{CallError, Denied, Event, From, Hub, Message, Position, Received, Subscription};
use yrs::{Doc, ReadTxn, StateVector, Transact, Update, WriteTxn, updates::decoder::Decode};

/// How the names of rooms with updates begin.
pub(crate) const UPDATE_ROOMS: &str = "document:";
/// What members publish into them: an update as base64.
pub(crate) const UPDATE: &str = "update";
/// What the server publishes into them where it has missed updates: give them again.
const LOST: &str = "lost";

/// Documents at once.
const MOST_DOCUMENTS: usize = 100;
/// Characters of a document's name.
const LONGEST_NAME: usize = 60;
/// Bytes of one update.
const LARGEST_UPDATE: usize = 512 << 10;
/// Bytes of a document's state, which may come back as one update; from there on only deletions are taken.
const LARGEST_STATE: usize = LARGEST_UPDATE;
/// Updates that are not merged yet.
const MOST_LATER: usize = 200;

/// The documents that were opened since the server began.
#[derive(Default)]
pub(crate) struct Documents {
    all: Mutex<HashMap<String, Arc<Document>>>,
}

/// What `open` takes.
#[derive(Deserialize)]
struct Open {
    document: String,
}

/// What `open` answers.
#[derive(Debug, Serialize)]
struct Opened {
    /// The updates so far, merged into one, as base64.
    state: String,
    /// The place in the room after the last of them.
    cursor: Position,
}

struct Document {
    merged: Mutex<Merged>,
}

struct Merged {
    /// The updates of the room so far, as one, but for the last ones.
    state: Vec<u8>,
    /// The last ones.
    later: Vec<Vec<u8>>,
    /// Where they end.
    cursor: Position,
    /// Bytes of both.
    bytes: usize,
}

impl Documents {
    /// Answers the call `open`. From here the hub and the documents hold each other, as long as the program runs.
    pub(crate) fn listen(self: &Arc<Self>, hub: &Hub) {
        let (documents, inside) = (Arc::clone(self), hub.clone());
        hub.on_call("open", move |_, Open { document }| {
            let (documents, hub) = (Arc::clone(&documents), inside.clone());
            async move { documents.open(&hub, &document).await }
        });
    }

    async fn open(&self, hub: &Hub, name: &str) -> Result<Opened, CallError> {
        if !is_name(name) {
            return Err(CallError::new("bad_document", format!("{NAME}, at most {LONGEST_NAME} of them")));
        }
        let known = self.all().get(name).cloned();
        let document = match known {
            Some(document) => document,
            None => self.create(hub, name).await?,
        };
        let mut merged = document.merged();
        Ok(Opened { state: BASE64_STANDARD.encode(merged.state()), cursor: merged.cursor })
    }

    async fn create(&self, hub: &Hub, name: &str) -> Result<Arc<Document>, CallError> {
        let room = format!("{UPDATE_ROOMS}{name}");
        // Nothing is taken for a document that is not there yet, so nothing comes before the subscription.
        let subscription = hub
            .subscribe(room.as_str(), From::Now)
            .await
            .map_err(|error| CallError::new(error.code(), error.to_string()))?;
        let mut all = self.all();
        if let Some(document) = all.get(name) {
            return Ok(Arc::clone(document)); // somebody else was faster
        }
        if all.len() >= MOST_DOCUMENTS {
            return Err(CallError::new("too_many_documents", format!("there are {MOST_DOCUMENTS} already")));
        }
        let document = Arc::new(Document { merged: Mutex::new(Merged::new(subscription.cursor())) });
        all.insert(name.to_owned(), Arc::clone(&document));
        tokio::spawn(Arc::clone(&document).follow(subscription, hub.clone(), room));
        Ok(document)
    }

    /// Whether a document takes what a member wants to publish.
    pub(crate) fn check(&self, name: &str, event: &Event) -> Result<(), Denied> {
        let document = self.all().get(name).cloned();
        let document =
            document.ok_or_else(|| Denied::invalid("unknown_document", "open the document first"))?;
        if event.data().len() > LARGEST_UPDATE.div_ceil(3) * 4 + 2 {
            return Err(Denied::invalid(
                "too_large",
                format!("an update has {LARGEST_UPDATE} bytes at most"),
            ));
        }
        let bytes = bytes(event).ok();
        let update = bytes.as_deref().and_then(|bytes| careful(|| Ok(Update::decode_v1(bytes)?)));
        let (Some(bytes), Some(update)) = (bytes, update) else {
            return Err(Denied::invalid("bad_update", "this is no update of Yjs, version 1, in base64"));
        };
        // In a document that is full something can still be deleted.
        if update.insertions(true).is_empty() || document.merged().has_space(bytes.len()) {
            Ok(())
        } else {
            Err(Denied::invalid("document_full", "the document is full; delete something"))
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Document>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Document {
    /// Merges what is published, until the hub ends.
    async fn follow(self: Arc<Self>, mut updates: Subscription, hub: Hub, room: String) {
        while let Some(received) = updates.next().await {
            let failed = match received {
                Received::Message(message) => self.merged().take(&message).err(),
                Received::Gap { id, .. } => {
                    self.merged().cursor = id;
                    self.ask(&hub, &room).await.err()
                }
            };
            if let Some(error) = failed {
                eprintln!("{room}: {error:#}");
            }
        }
    }

    /// Something is missing here: whoever has it gives it again when it is asked to open the document anew.
    async fn ask(&self, hub: &Hub, room: &str) -> anyhow::Result<()> {
        hub.publish(room, Event::json(LOST, &())?).await.context("cannot ask for what is lost")?;
        Ok(())
    }

    fn merged(&self) -> MutexGuard<'_, Merged> {
        self.merged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Merged {
    fn new(cursor: Position) -> Self {
        Self { state: Update::EMPTY_V1.to_vec(), later: Vec::new(), cursor, bytes: Update::EMPTY_V1.len() }
    }

    fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        self.cursor = message.position();
        if message.event().name().as_str() == UPDATE {
            let update = bytes(message.event())?;
            self.bytes += update.len();
            self.later.push(update);
            if self.later.len() >= MOST_LATER {
                self.state();
            }
        }
        Ok(())
    }

    /// Everything, as one update.
    fn state(&mut self) -> &[u8] {
        let later = std::mem::take(&mut self.later);
        if !later.is_empty() {
            self.state = merge(&self.state, &later).unwrap_or_else(|| {
                // One of them does not fit, and the others do without it.
                later.iter().fold(self.state.clone(), |state, update| {
                    merge(&state, std::slice::from_ref(update)).unwrap_or(state)
                })
            });
            self.bytes = self.state.len();
        }
        &self.state
    }

    fn has_space(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > LARGEST_STATE {
            // Merged they are smaller, and what was deleted is gone.
            self.state();
        }
        self.bytes + bytes <= LARGEST_STATE
    }
}

/// A state with more updates, or nothing where one does not fit.
fn merge(state: &[u8], updates: &[Vec<u8>]) -> Option<Vec<u8>> {
    careful(|| {
        let doc = Doc::new();
        for update in std::iter::once(state).chain(updates.iter().map(Vec::as_slice)) {
            let mut transaction = doc.transact_mut();
            transaction.apply_update(Update::decode_v1(update)?)?;
            // A room has updates after those they build on. One that builds on nothing known is not kept for later.
            drop(transaction.prune_pending());
        }
        Ok(doc.transact().encode_state_as_update_v1(&StateVector::default()))
    })
}

/// What comes of updates that anybody may have made. At some that cannot be, yrs panics; then whatever it was about to make
/// is thrown away.
fn careful<T>(work: impl FnOnce() -> anyhow::Result<T> + UnwindSafe) -> Option<T> {
    catch_unwind(work).ok()?.ok()
}

/// The bytes of an update, which an event has as text.
fn bytes(event: &Event) -> anyhow::Result<Vec<u8>> {
    Ok(BASE64_STANDARD.decode(event.parse::<String>()?)?)
}

/// Whether a text can be the name of a document.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(fits)
}

const NAME: &str = "a document's name is made of letters, digits, dots, dashes and underscores";

#[cfg(test)]
mod tests;
