//! Which server has which rooms.

use crate::{
    live::Partitions,
    names::Partition,
    server::{Common, InUse, Pauses, Server, is_text},
};
use rand::{RngExt, seq::SliceRandom};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, Value};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tidings_core::broker::BrokerError;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Which server has which rooms, as far as is known.
pub(crate) struct Topology {
    pub(crate) common: Arc<Common>,
    source: Source,
    map: RwLock<Map>,
}

/// Where that is known from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// There is one server.
    One(ConnectionInfo),
    /// The servers of a cluster tell; these are some of them.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels tell which server is the master of this name.
    Sentinels(Vec<ConnectionInfo>, String),
}

#[derive(Default)]
struct Map {
    servers: HashMap<String, InUse>,
    /// By partition; empty as long as nothing is known.
    of: Vec<Option<Arc<Server>>>,
    /// Why nothing is known.
    fault: Option<String>,
}

/// The slots of a server.
type Found = Vec<(std::ops::RangeInclusive<u16>, ConnectionInfo)>;

impl Topology {
    pub(crate) fn new(common: Arc<Common>, source: Source) -> Self {
        Self { common, source, map: RwLock::default() }
    }

    /// The server that has a partition.
    pub(crate) async fn server(
        &self,
        partition: Partition,
        deadline: Instant,
    ) -> Result<Arc<Server>, BrokerError> {
        let mut told = self.common.told.subscribe();
        loop {
            {
                let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
                match map.of.get(partition.index()) {
                    Some(Some(server)) => return Ok(Arc::clone(server)),
                    Some(None) => return Err(BrokerError::Unavailable(without_server(partition))),
                    None => {}
                }
                if let Some(fault) = &map.fault {
                    return Err(BrokerError::Unavailable(fault.clone()));
                }
            }
            if timeout_at(deadline, told.changed()).await.is_err() {
                return Err(BrokerError::Unavailable(UNKNOWN.to_owned()));
            }
        }
    }

    /// The server that has a partition, if that is known.
    pub(crate) fn known(&self, partition: Partition) -> Option<Arc<Server>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.of.get(partition.index())?.clone()
    }

    /// What is wrong, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if map.of.is_empty() {
            return Some(map.fault.clone().unwrap_or_else(|| UNKNOWN.to_owned()));
        }
        let without = || {
            let partition = Partition::all().find(|partition| map.of[partition.index()].is_none());
            partition.map(without_server)
        };
        map.servers.values().find_map(|used| used.server.fault()).or_else(without)
    }

    /// Asks from time to time which server has what, for as long as the broker lives.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            let begun = Instant::now();
            let found = self.ask().await;
            match found {
                Ok(found) => self.adopt(found),
                Err(fault) => {
                    self.map.write().unwrap_or_else(PoisonError::into_inner).fault = Some(fault);
                    self.common.told.send_replace(());
                }
            }
            // Never all nodes at once, nor one all the time.
            sleep(LEAST_PAUSE).await;
            let pause = match self.fault() {
                Some(_) => pauses.next(begun),
                None => {
                    pauses = Pauses::default();
                    rand::rng().random_range(LOOK / 2..LOOK)
                }
            };
            match &self.source {
                // Its name may be another's by now, but it is asked for whenever it is connected to.
                Source::One(_) if !self.is_unknown() => return,
                _ => drop(timeout(pause, self.common.look.notified()).await),
            }
        }
    }

    fn is_unknown(&self) -> bool {
        self.map.read().unwrap_or_else(PoisonError::into_inner).of.is_empty()
    }

    async fn ask(&self) -> Result<Found, String> {
        match &self.source {
            Source::One(info) => Ok(vec![(0..=u16::MAX, info.clone())]),
            Source::Cluster(seeds) => self.ask_cluster(seeds).await,
            Source::Sentinels(sentinels, name) => self.ask_sentinels(sentinels, name).await,
        }
    }

    async fn ask_cluster(&self, seeds: &[ConnectionInfo]) -> Result<Found, String> {
        let (mut command, mut state) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
        command.arg("SLOTS");
        state.arg("INFO");
        let mut servers: Vec<_> = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            map.servers.values().map(|used| Arc::clone(&used.server)).collect()
        };
        servers.shuffle(&mut rand::rng());
        // What one says that is cut off from most of the others is of another time.
        let mut doubtful = None;
        for server in servers {
            let Ok(mut connection) = server.connection(Instant::now()).await else { continue };
            if let Ok(answer) = server.ask(&mut connection, &command).await
                && let Some(found) = slots(&answer, server.client.get_connection_info())
            {
                match server.ask(&mut connection, &state).await {
                    Ok(state) if !says(&state, "cluster_state:ok") => doubtful = Some(found),
                    _ => return Ok(found),
                }
            }
        }
        if let Some(found) = doubtful {
            return Ok(found);
        }
        let mut fault = UNKNOWN.to_owned();
        for seed in seeds {
            match self.ask_once(seed.clone(), &command).await {
                Ok(answer) => match slots(&answer, seed) {
                    Some(found) => return Ok(found),
                    None => fault = format!("{} has no slots of a cluster", seed.addr()),
                },
                Err(why) => fault = format!("{}: {why}", seed.addr()),
            }
        }
        Err(fault)
    }

    async fn ask_sentinels(&self, sentinels: &[ConnectionInfo], name: &str) -> Result<Found, String> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let mut fault = UNKNOWN.to_owned();
        for sentinel in sentinels {
            // User, password and database are those of the servers.
            let info = sentinel.clone().set_redis_settings(RedisConnectionInfo::default());
            match self.ask_once(info, &command).await {
                Ok(Value::Array(address)) => {
                    if let Some(info) = address_of(&address, sentinel) {
                        return Ok(vec![(0..=u16::MAX, info)]);
                    }
                }
                Ok(_) => fault = format!("{} knows no master of the name {name:?}", sentinel.addr()),
                Err(why) => fault = format!("{}: {why}", sentinel.addr()),
            }
        }
        Err(fault)
    }

    async fn ask_once(&self, info: ConnectionInfo, command: &redis::Cmd) -> Result<Value, String> {
        let asked = timeout(self.common.timeout, async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.common.timeout))
                .set_response_timeout(None);
            let client = Client::open(info)?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            connection.send_packed_command(command).await?.extract_error()
        });
        asked.await.map_err(|_| "does not answer")?.map_err(|error| error.to_string())
    }

    fn adopt(&self, found: Found) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut servers = HashMap::new();
        let mut of = vec![None; Partition::COUNT];
        map.fault = None;
        for (slots, info) in found {
            let name = info.addr().to_string();
            let used = match servers.remove(&name).or_else(|| map.servers.remove(&name)) {
                Some(used) => used,
                None => match Server::start(&self.common, info) {
                    Ok(used) => used,
                    Err(error) => {
                        map.fault = Some(format!("{name}: {error}"));
                        continue;
                    }
                },
            };
            for partition in Partition::all().filter(|partition| slots.contains(&partition.slot())) {
                of[partition.index()] = Some(Arc::clone(&used.server));
            }
            servers.insert(name, used);
        }
        for used in servers.values() {
            let its: Partitions = std::array::from_fn(|at| {
                of[at].as_ref().is_some_and(|server: &Arc<Server>| Arc::ptr_eq(server, &used.server))
            });
            used.server.live.assign(&its);
        }
        // Those that have nothing any more end here.
        let gone = std::mem::replace(&mut map.servers, servers);
        map.of = of;
        drop(map);
        drop(gone);
        self.common.told.send_replace(());
    }
}

/// The slots of a cluster by their masters, as `CLUSTER SLOTS` says it.
fn slots(answer: &Value, asked: &ConnectionInfo) -> Option<Found> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
        let slots = u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?;
        Some((slots, address_of(master, asked)?))
    };
    let found: Option<Found> = ranges.iter().map(range).collect();
    found.filter(|found| !found.is_empty())
}

/// A server by host and port, which is connected to like another one.
fn address_of(parts: &[Value], like: &ConnectionInfo) -> Option<ConnectionInfo> {
    let [host, port, ..] = parts else { return None };
    let port = match port {
        Value::Int(port) => u16::try_from(*port).ok()?,
        Value::BulkString(port) => std::str::from_utf8(port).ok()?.parse().ok()?,
        _ => return None,
    };
    let host = match host {
        // It does not know its own.
        host if matches!(host, Value::Nil) || is_text(host, b"") || is_text(host, b"?") => None,
        Value::BulkString(host) => Some(String::from_utf8(host.clone()).ok()?),
        _ => return None,
    };
    let address = match like.addr().clone() {
        ConnectionAddr::Tcp(own, _) => ConnectionAddr::Tcp(host.unwrap_or(own), port),
        ConnectionAddr::TcpTls { host: own, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.unwrap_or(own), port, insecure, tls_params }
        }
        _ => return None,
    };
    Some(like.clone().set_addr(address))
}

fn says(answer: &Value, what: &str) -> bool {
    match answer {
        Value::BulkString(text) => text.windows(what.len()).any(|part| part == what.as_bytes()),
        Value::VerbatimString { text, .. } => text.contains(what),
        _ => false,
    }
}

fn without_server(partition: Partition) -> String {
    format!("no server of the cluster has the slot {}", partition.slot())
}

const UNKNOWN: &str = "it is not known yet which server has what";
/// How often it is asked without cause.
const LOOK: Duration = Duration::from_secs(10);
/// Between two times, whatever the cause.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn asked() -> ConnectionInfo {
        "redis://:secret@seed:7000".into_connection_info().expect("an address")
    }

    #[test]
    fn masters_are_read_from_the_answer_of_a_cluster() {
        let range = |first, last, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("id")]);
            let replica = Value::Array(vec![text("replica"), Value::Int(1), text("other")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let answer = Value::Array(vec![
            range(0, 99, text("10.0.0.1"), 7001),
            range(100, 16_383, Value::Nil, 7002),
            range(16_383, 16_383, text(""), 7003),
        ]);
        let found = slots(&answer, &asked()).expect("slots");
        let shown: Vec<_> =
            found.iter().map(|(slots, info)| (slots.clone(), info.addr().to_string())).collect();
        // Who does not know its own name is who was asked.
        let expected =
            [(0..=99, "10.0.0.1:7001"), (100..=16_383, "seed:7002"), (16_383..=16_383, "seed:7003")];
        assert_eq!(shown, expected.map(|(slots, name)| (slots, name.to_owned())));
        assert_eq!(found[0].1.redis_settings().password(), Some("secret"));
    }

    #[test]
    fn what_is_no_answer_of_a_cluster_is_refused() {
        let master = || Value::Array(vec![text("h"), Value::Int(1)]);
        for answer in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(70_000), master()])]),
            Value::Array(vec![Value::Array(vec![Value::Int(-1), Value::Int(7), master()])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(7),
                Value::Array(vec![text("h"), Value::Int(70_000)]),
            ])]),
        ] {
            assert!(slots(&answer, &asked()).is_none(), "{answer:?}");
        }
    }
}
