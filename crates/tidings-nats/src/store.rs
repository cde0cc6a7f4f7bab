//! A stream: its identity, its limits, and that it is there.

use crate::{
    builder::Storage,
    frame,
    names::{Names, Place, hash},
    watch::Watches,
};
use async_nats::jetstream::{
    Context,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, Info, LastRawMessageErrorKind, Republish, RetentionPolicy, StorageType},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};
use tidings_core::{Event, Position, Retention, broker::BrokerError};

/// A stream that rooms are kept in.
pub(crate) struct Store {
    pub(crate) place: Place,
    pub(crate) name: String,
    setup: Setup,
    context: Context,
    watches: Arc<Watches>,
    known: Mutex<Option<Identity>>,
    /// What the rooms seen so far want to keep, at most.
    wanted: Mutex<Retention>,
    /// No sequence beyond this was seen in it.
    highest: AtomicU64,
    /// One at a time looks after it.
    turn: tokio::sync::Mutex<()>,
}

/// What all streams of an installation have in common.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) names: Names,
    pub(crate) replicas: usize,
    pub(crate) storage: Storage,
}

/// Which stream it is, and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) epoch: u32,
    created: i128,
    /// Messages of one subject at most.
    pub(crate) per_room: u64,
    pub(crate) age: Duration,
}

/// What a stream said of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) identity: Identity,
    /// The oldest sequence kept.
    pub(crate) first: u64,
    /// The newest sequence ever given.
    pub(crate) last: u64,
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) tag: u16,
    pub(crate) event: Event,
    pub(crate) at: SystemTime,
}

impl Found {
    pub(crate) fn position(&self, epoch: u32) -> Position {
        Position { epoch, offset: self.sequence, tag: self.tag }
    }

    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        self.at.elapsed().is_ok_and(|elapsed| elapsed > age)
    }
}

impl Store {
    pub(crate) fn new(place: Place, setup: Setup, context: Context, watches: Arc<Watches>) -> Self {
        let name = setup.names.stream(place);
        Self {
            place,
            name,
            setup,
            context,
            watches,
            known: Mutex::default(),
            wanted: Mutex::new(Retention { count: 1, bytes: 0, age: LEAST_AGE }),
            highest: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What is known of it without asking.
    pub(crate) fn known(&self) -> Option<Identity> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It may be another one by now: whoever needs to know asks.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(SeqCst)
    }

    /// This sequence was seen in it.
    pub(crate) fn saw(&self, sequence: u64) {
        self.highest.fetch_max(sequence, SeqCst);
    }

    /// Which stream it is, after seeing to it that it is there and keeps at least as much as `room` does.
    pub(crate) async fn identity(&self, room: Retention) -> Result<Identity, BrokerError> {
        let covers =
            |known: &Identity| known.per_room >= per_room(self.place, room.count) && known.age >= room.age;
        if let Some(known) = self.known().filter(covers) {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known().filter(covers) {
            return Ok(known);
        }
        {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.count = wanted.count.max(room.count);
            wanted.age = wanted.age.max(room.age);
        }
        self.settle().await.map(|look| look.identity)
    }

    /// Asks the stream's leader how it stands. Should the stream be gone, there is a new one after this.
    pub(crate) async fn look(&self) -> Result<Look, BrokerError> {
        let before = self.highest();
        match self.context.get_stream(&self.name).await {
            Ok(stream) => Ok(self.adopt(stream.cached_info(), before)),
            Err(error) if is_missing(error.kind()) => {
                let _turn = self.turn.lock().await;
                self.settle().await
            }
            Err(error) => Err(away(&self.name, error)),
        }
    }

    /// Makes the stream what it must be. One at a time.
    async fn settle(&self) -> Result<Look, BrokerError> {
        for _ in 0..ATTEMPTS {
            let wanted = *self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            let config = self.config(wanted);
            let before = self.highest();
            let info = match self.context.get_stream(&self.name).await {
                Ok(stream) => stream.cached_info().clone(),
                Err(error) if is_missing(error.kind()) => match self.context.create_stream(&config).await {
                    Ok(stream) => stream.cached_info().clone(),
                    Err(error) if is_raced(&error.kind()) => continue,
                    Err(error) => return Err(away(&self.name, error)),
                },
                Err(error) => return Err(away(&self.name, error)),
            };
            if let Some(conflict) = conflict(&info.config, &config) {
                return Err(BrokerError::Unavailable(format!("the stream {} {conflict}", self.name)));
            }
            let Some(change) = grown(&info.config, &config) else {
                return Ok(self.adopt(&info, before));
            };
            // Another node may grow it at the same time, further in one respect and less in another: so it is asked
            // again what came of it.
            self.context.update_stream(&change).await.map_err(|error| away(&self.name, error))?;
        }
        Err(BrokerError::Unavailable(format!("the stream {} changes all the time", self.name)))
    }

    fn config(&self, wanted: Retention) -> Config {
        let Setup { names, replicas, storage } = &self.setup;
        let age = wanted.age.clamp(LEAST_AGE, MOST_AGE);
        Config {
            name: self.name.clone(),
            // Nodes that spread rooms in another way would look for them elsewhere, without a word.
            description: Some(format!("Tidings, one of {}", names.partitions)),
            subjects: vec![names.subjects(self.place)],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: per_room(self.place, wanted.count) as i64,
            max_consumers: -1,
            max_age: age,
            storage: match storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: *replicas,
            duplicate_window: KEYS,
            allow_direct: true,
            republish: Some(Republish {
                source: names.subjects(self.place),
                destination: names.live_subjects(self.place),
                headers_only: false,
            }),
            ..Config::default()
        }
    }

    /// Takes note of what the stream said. `before` is the highest sequence seen before it was asked.
    fn adopt(&self, info: &Info, before: u64) -> Look {
        let created = info.created.unix_timestamp_nanos();
        let epoch = hash(format!("{} {created}", self.name).as_bytes()) as u32;
        let identity = Identity {
            epoch: epoch.max(1),
            created,
            per_room: u64::try_from(info.config.max_messages_per_subject).unwrap_or(u64::MAX),
            age: if info.config.max_age.is_zero() { Duration::MAX } else { info.config.max_age },
        };
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        let old = self.known.lock().unwrap_or_else(PoisonError::into_inner).replace(identity);
        let another = old.is_some_and(|old| old.created != created);
        // The same stream without its end, or without anything: a server lost it.
        let went_back = last < before;
        if another || went_back {
            self.highest.store(last, SeqCst);
            self.watches.reset(self.place);
        } else {
            self.saw(last);
        }
        Look { identity, first, last }
    }

    /// The newest message of a subject, as the stream's leader knows it.
    pub(crate) async fn newest(&self, subject: &str) -> Result<Option<Found>, BrokerError> {
        let stream =
            self.context.get_stream_no_info(&self.name).await.map_err(|error| away(&self.name, error))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => {
                self.saw(message.sequence);
                let (event, tag) = frame::decode(&message.payload);
                Ok(Some(Found { sequence: message.sequence, tag, event, at: message.time.into() }))
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(fault)
                    if fault.error_code() == async_nats::jetstream::ErrorCode::NO_MESSAGE_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(away(&self.name, error)),
            },
        }
    }
}

/// One more than a room keeps, by which a reader that has missed exactly all of them is known to have missed no more.
/// A latest-value room is not read backwards.
fn per_room(place: Place, count: usize) -> u64 {
    match place.class {
        crate::names::Class::Log => (count as u64).saturating_add(1).min(i64::MAX as u64),
        crate::names::Class::Latest => 1,
    }
}

/// Why a stream cannot be used as it is.
fn conflict(is: &Config, must: &Config) -> Option<String> {
    if is.description != must.description {
        return Some(format!(
            "is another's, or of another number of partitions: its description is {:?}, not {:?}",
            is.description.as_deref().unwrap_or_default(),
            must.description.as_deref().unwrap_or_default(),
        ));
    }
    if is.subjects != must.subjects || is.republish != must.republish {
        return Some("has other subjects, or hands them over elsewhere".to_owned());
    }
    if is.storage != must.storage {
        return Some(format!("is stored in {:?}, which cannot be changed to {:?}", is.storage, must.storage));
    }
    None
}

/// The configuration that keeps at least as much as each of the two does; none if that is what there is.
fn grown(is: &Config, must: &Config) -> Option<Config> {
    let most = |a: i64, b: i64| if a <= 0 { a } else { a.max(b) };
    let change = Config {
        max_messages_per_subject: most(is.max_messages_per_subject, must.max_messages_per_subject),
        max_age: if is.max_age.is_zero() { is.max_age } else { is.max_age.max(must.max_age) },
        num_replicas: is.num_replicas.max(must.num_replicas),
        duplicate_window: is.duplicate_window.max(must.duplicate_window),
        allow_direct: true,
        ..is.clone()
    };
    let same = change.max_messages_per_subject == is.max_messages_per_subject
        && change.max_age == is.max_age
        && change.num_replicas == is.num_replicas
        && change.duplicate_window == is.duplicate_window
        && change.allow_direct == is.allow_direct;
    (!same).then_some(change)
}

pub(crate) fn is_missing(kind: GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error)
        if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// Another node was faster, with other limits.
fn is_raced(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error)
        if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NAME_EXIST)
}

/// What went wrong, with what that comes from: the client's errors say only half of it by themselves.
pub(crate) fn away(what: &str, error: impl std::error::Error) -> BrokerError {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    BrokerError::Unavailable(text)
}

/// How long a key is remembered: longer than any client keeps retrying one request.
const KEYS: Duration = Duration::from_secs(300);
/// A stream keeps no message for less than a key is remembered, for JetStream takes no other.
const LEAST_AGE: Duration = KEYS;
/// Nanoseconds that fit the server's number.
const MOST_AGE: Duration = Duration::from_secs(200 * 365 * 86_400);
/// Times that nodes may get in each other's way before one gives up for now.
const ATTEMPTS: usize = 5;
