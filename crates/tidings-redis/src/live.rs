//! What a server hands over, and how it becomes messages of a room.

use crate::{
    frame,
    names::Partition,
    server::{CHECK, Common, Pauses, Server},
    watch::Watch,
};
use bytes::Bytes;
use rand::RngExt;
use redis::{Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use tidings_core::RoomName;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

/// A server's part of what is watched, over a connection of its own: a server closes one to which more is handed over
/// than it takes, and a long answer must not be in the way.
pub(crate) struct Live {
    fault: Mutex<Option<String>>,
    /// None: not said yet.
    partitions: Mutex<Option<Partitions>>,
    /// Told when these change.
    moved: Notify,
    /// Rooms that have to be begun or ended, each once. None: there is no connection, and the next begins with what is
    /// watched then.
    changes: Mutex<Option<HashSet<RoomName>>>,
    changed: Notify,
}

/// Which partitions are a server's.
pub(crate) type Partitions = [bool; Partition::COUNT];

/// One connection's ear.
struct Ear {
    common: Arc<Common>,
    /// Told when nothing is to be heard any more.
    deaf: Notify,
    /// Whether a room was ended that nobody had ended here.
    stray: AtomicBool,
    /// Channels that were asked to be ended.
    leaving: Mutex<HashSet<String>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            fault: Mutex::new(Some("is not reached yet".to_owned())),
            partitions: Mutex::default(),
            moved: Notify::new(),
            changes: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Live {
    /// What is wrong, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which partitions are its.
    pub(crate) fn assign(&self, partitions: &Partitions) {
        let known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner).replace(*partitions);
        if known != Some(*partitions) {
            self.moved.notify_one();
        }
    }

    async fn partitions(&self) -> Partitions {
        loop {
            let known = *self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            match known {
                Some(partitions) => return partitions,
                None => self.moved.notified().await,
            }
        }
    }

    /// A room is watched, or not any more.
    pub(crate) fn change(&self, room: &RoomName) {
        if let Some(changes) = &mut *self.changes() {
            changes.insert(room.clone());
            self.changed.notify_one();
        }
    }

    fn changes(&self) -> MutexGuard<'_, Option<HashSet<RoomName>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, common: &Common, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        common.told.send_replace(());
    }

    /// Listens for as long as the server is used.
    pub(crate) async fn run(server: Arc<Server>) {
        let mut pauses = Pauses::default();
        loop {
            let begun = Instant::now();
            let partitions = server.live.partitions().await;
            let Err(why) = server.live.serve(&server, &partitions).await;
            *server.live.changes() = None;
            server.live.set(&server.common, Some(format!("hands nothing over: {why}")));
            for watch in server.common.watches.of(|partition| partitions[partition.index()]) {
                watch.started.send_replace(false);
            }
            sleep(pauses.next(begun)).await;
        }
    }

    async fn serve(&self, server: &Server, partitions: &Partitions) -> Result<Infallible, String> {
        let ear = Arc::new(Ear {
            common: Arc::clone(&server.common),
            deaf: Notify::new(),
            stray: AtomicBool::new(false),
            leaving: Mutex::default(),
        });
        let ears = Arc::clone(&ear);
        let mut connection = server
            .open(move |push| {
                ears.take(push);
                Ok::<_, redis::aio::SendError>(())
            })
            .await?;
        // From here on a change is noted, so what is wanted now and those are all.
        *self.changes() = Some(HashSet::new());
        let mut heard = HashSet::new();
        let wanted = server.common.watches.of(|partition| partitions[partition.index()]);
        for watches in wanted.chunks(BATCH) {
            self.tell(server, &ear, &mut connection, watches, &[]).await?;
            heard.extend(watches.iter().map(|watch| watch.room.clone()));
        }
        self.set(&server.common, None);
        for watch in &wanted {
            watch.started.send_replace(true);
            // Whatever was published while nobody listened.
            server.common.watches.each_sink(|sink| sink.lost(Some(&watch.room)));
        }
        loop {
            tokio::select! {
                () = ear.deaf.notified() => return Err(ear.why().to_owned()),
                () = self.moved.notified() => {
                    if self.partitions().await != *partitions {
                        return Err("rooms have moved".to_owned());
                    }
                }
                () = self.changed.notified() => {
                    self.settle(server, &ear, &mut connection, partitions, &mut heard).await?;
                }
                () = sleep(rand::rng().random_range(CHECK / 2..CHECK)) => {
                    server.ask(&mut connection, &redis::cmd("PING")).await?;
                }
            }
        }
    }

    /// Begins and ends what has changed, so much of it as goes at once.
    async fn settle(
        &self,
        server: &Server,
        ear: &Ear,
        connection: &mut MultiplexedConnection,
        partitions: &Partitions,
        heard: &mut HashSet<RoomName>,
    ) -> Result<(), String> {
        let changed = {
            let mut changes = self.changes();
            let changes = changes.get_or_insert_default();
            let some: HashSet<_> = changes.iter().take(BATCH).cloned().collect();
            changes.retain(|room| !some.contains(room));
            if !changes.is_empty() {
                self.changed.notify_one();
            }
            some
        };
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for room in changed {
            let wanted = server.common.watches.get(&room).filter(|watch| partitions[watch.partition.index()]);
            match wanted {
                Some(watch) if heard.contains(&room) => drop(watch.started.send_replace(true)),
                Some(watch) => begin.push(watch),
                None if heard.contains(&room) => end.push(room),
                None => {}
            }
        }
        self.tell(server, ear, connection, &begin, &end).await?;
        for room in end {
            heard.remove(&room);
        }
        for watch in begin {
            heard.insert(watch.room.clone());
            watch.started.send_replace(true);
        }
        Ok(())
    }

    /// Tells the server to begin with some rooms and to end with others. It has when this is answered.
    async fn tell(
        &self,
        server: &Server,
        ear: &Ear,
        connection: &mut MultiplexedConnection,
        begin: &[Arc<Watch>],
        end: &[RoomName],
    ) -> Result<(), String> {
        let Common { names, cluster, .. } = &*server.common;
        let (subscribe, unsubscribe) =
            if *cluster { ("SSUBSCRIBE", "SUNSUBSCRIBE") } else { ("SUBSCRIBE", "UNSUBSCRIBE") };
        let mut commands = Pipeline::new();
        for watch in begin {
            // One at a time, for channels of one command must be of one slot.
            commands.cmd(subscribe).arg(names.channel(&watch.room));
        }
        for room in end {
            let channel = names.channel(room);
            ear.leaving().insert(channel.clone());
            commands.cmd(unsubscribe).arg(channel);
        }
        if commands.is_empty() {
            return Ok(());
        }
        let count = commands.len();
        let told = timeout(server.common.timeout, connection.send_packed_commands(&commands, 0, count)).await;
        let answers = told.map_err(|_| "does not answer")?.map_err(|error| error.to_string())?;
        if let Some(error) = answers.into_iter().find_map(|answer| answer.extract_error().err()) {
            server.common.look.notify_one();
            return Err(error.to_string());
        }
        // Then an answer was for something else.
        if ear.stray.load(SeqCst) { Err(STRAY.to_owned()) } else { Ok(()) }
    }
}

impl Ear {
    fn leaving(&self) -> MutexGuard<'_, HashSet<String>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self) -> &'static str {
        if self.stray.load(SeqCst) { STRAY } else { "the connection was closed" }
    }

    fn take(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        match (push.kind, data.next(), data.next()) {
            (
                PushKind::Message | PushKind::SMessage,
                Some(Value::BulkString(channel)),
                Some(Value::BulkString(payload)),
            ) => {
                let room = self.common.names.room(&channel);
                if let Some(watch) = room.and_then(|room| self.common.watches.get(room)) {
                    self.hear(&watch, &payload.into());
                }
            }
            (PushKind::Unsubscribe | PushKind::SUnsubscribe, Some(Value::BulkString(channel)), _) => {
                let asked = std::str::from_utf8(&channel).is_ok_and(|channel| self.leaving().remove(channel));
                if !asked {
                    // The channel's slot is another server's now.
                    self.stray.store(true, SeqCst);
                    self.common.look.notify_one();
                    self.deaf.notify_one();
                }
            }
            (PushKind::Disconnection, ..) => self.deaf.notify_one(),
            _ => {}
        }
    }

    fn hear(&self, watch: &Watch, payload: &Bytes) {
        let watches = &self.common.watches;
        if !watch.keeps {
            if let Some(event) = frame::decode(payload) {
                watches.take_ephemeral(watch, event);
            }
            return;
        }
        match frame::stored(payload) {
            Some(stored) => {
                let message = Arc::new(stored.message(watch.room.clone()));
                watches.each_sink(|sink| sink.live(Arc::clone(&message)));
            }
            // Somebody else's, or of a node that takes the room for one that keeps nothing.
            None => watches.each_sink(|sink| sink.lost(Some(&watch.room))),
        }
    }
}

const STRAY: &str = "a channel was ended by the server";
/// Rooms that are begun or ended at once: one write, and few enough that the time-out is no matter of their number.
const BATCH: usize = 512;
