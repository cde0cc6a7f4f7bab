//! A client that comes back to another node whenever it has lost one.

use crate::{
    LIMIT, Run,
    ledger::{Entry, Ledger},
    room,
};
use std::{sync::Arc, time::Duration};
use tidings_testkit::{Client, Heard, Kind, Random};
use tokio::time::{sleep, timeout};

/// One client of one room.
pub(crate) struct Listener {
    run: Arc<Run>,
    room: usize,
    kind: Kind,
    random: Random,
    node: usize,
    cursor: String,
    heard: u64,
    ledger: Ledger,
}

impl Listener {
    pub(crate) fn new(run: &Arc<Run>, room: usize, kind: Kind, mut random: Random) -> Self {
        let node = random.below(run.nodes.len() as u64) as usize;
        let cursor = "start".to_owned();
        Self { run: Arc::clone(run), room, kind, random, node, cursor, heard: 0, ledger: Ledger::default() }
    }

    /// Listens until it has the last event of each publisher of its room. Answers the room and what it has heard, or what is
    /// wrong.
    pub(crate) async fn run(mut self) -> Result<(usize, Ledger), String> {
        let mut failures = 0;
        loop {
            let (tally, room) = (&self.run.tally, room(self.room));
            let connecting = Client::connect(self.kind, self.run.nodes[self.node], &room, &self.cursor);
            match timeout(CONNECT, connecting).await {
                Ok(Ok(client)) => {
                    tally.connected.add(1);
                    let before = self.heard;
                    if self.hear(client).await? {
                        return Ok((self.room, self.ledger));
                    }
                    self.run.tally.lost.add(1);
                    // A poll is connected whether or not anybody is there.
                    failures = if self.heard > before { 0 } else { failures + 1 };
                }
                Ok(Err(refused)) if matches!(refused.status, 0 | 503) => {
                    if refused.status == 0 { &tally.broken } else { &tally.refused }.add(1);
                    failures += 1;
                }
                Ok(Err(refused)) => return Err(format!("{:?}: {refused:?}", self.kind)),
                Err(_) => {
                    tally.broken.add(1);
                    failures += 1;
                }
            }
            // Full jitter, and another node; now and then another transport.
            sleep(Duration::from_millis(self.random.below(250 << failures.min(4)))).await;
            self.node = (self.node + 1 + self.random.below(self.run.nodes.len() as u64 - 1) as usize)
                % self.run.nodes.len();
            if self.random.below(3) == 0 {
                self.kind = *self.random.pick(&Kind::ALL);
            }
        }
    }

    /// Hears until the end of the connection. Answers whether it has everything.
    async fn hear(&mut self, mut client: Client) -> Result<bool, String> {
        while let Some(heard) = client.next().await {
            match heard {
                Heard::Event { data, cursor, .. } => {
                    let entry = Entry::read(&data).ok_or_else(|| format!("{data} is no entry"))?;
                    let took = Duration::from_micros(self.run.now().saturating_sub(entry.at));
                    if took > LATE {
                        return Err(format!("{entry:?} came {took:?} after it was published"));
                    }
                    self.run.tally.delivered(took);
                    self.heard += 1;
                    let stored = &self.run.stored[self.room];
                    self.ledger
                        .event(entry, &cursor, stored)
                        .map_err(|why| format!("{why}, in {} over {:?}", room(self.room), self.kind))?;
                    self.cursor = cursor;
                    if self.ledger.is_complete() {
                        return Ok(true);
                    }
                }
                Heard::Gap { reason, cursor, .. } => {
                    self.run.tally.gap(&reason);
                    self.ledger.gap(&reason);
                    self.cursor = cursor;
                }
                Heard::Joined { .. } => {}
                // To come back somewhere else.
                Heard::Other(close) if close["type"] == "close" && close["code"] == "drain" => {
                    return Ok(false);
                }
                Heard::Other(other) => return Err(format!("{other} over {:?}", self.kind)),
            }
        }
        Ok(false)
    }
}

/// Longer than a node may take to answer while its broker is away.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest from the first attempt to publish to the last client that hears it, whatever is away meanwhile: a broker for
/// four seconds, attempts to come back to it in ever longer pauses, and all that again where it is killed once more.
const LATE: Duration = LIMIT;
