//! Servers of NATS that the tests start, freeze and kill.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tidings_core::{Event, Position, RoomName, Rooms, broker::*};
use tidings_nats::{Builder, NatsBroker, Storage};

/// A server on a free port of the loopback, with a store of its own. It ends when it is dropped.
pub(crate) struct NatsServer {
    child: Option<Child>,
    port: u16,
    args: Vec<String>,
    store: TempDir,
}

impl NatsServer {
    pub(crate) fn start() -> Self {
        Self::with(&["-js"])
    }

    /// A server with arguments beside address and store.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    pub(crate) fn on(port: u16, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let store = TempDir::new().expect("a directory");
        let mut server = Self { child: None, port, args, store };
        server.restart();
        server
    }

    /// Starts again what was killed, on the same port and with the same store.
    pub(crate) fn restart(&mut self) {
        let log = std::fs::File::create(self.store.path().join("log")).expect("a file");
        let program = program();
        let child = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-sd", &self.store.path().join("js").to_string_lossy()])
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {}, which these tests need: {error}; `cargo xtask test` installs it on Debian, \
                     TIDINGS_NATS_SERVER names another",
                    program.display()
                )
            });
        self.child = Some(child);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it has ended");
        }
    }

    /// Takes everything and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let done =
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there");
        assert!(done.success());
    }

    pub(crate) fn builder(&self) -> Builder {
        NatsBroker::builder(&self.url()).storage(Storage::Memory)
    }

    pub(crate) async fn broker(&self) -> NatsBroker {
        let broker = self.builder().build().expect("settings that can work");
        ready(&broker).await;
        broker
    }

    /// A client of its own, for what an administrator does.
    pub(crate) async fn admin(&self) -> async_nats::jetstream::Context {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        async_nats::jetstream::new(options.connect(self.url()).await.expect("it is connected later"))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) async fn ready(broker: &NatsBroker) {
    if tokio::time::timeout(Duration::from_secs(20), broker.ready()).await.is_err() {
        panic!("the broker is not ready: {:?}", broker.fault());
    }
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {seconds} s"),
    }
}

/// Asks until it is so.
pub(crate) async fn until(seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) {
    within(seconds, what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a room name")
}

pub(crate) fn log(count: usize) -> Rooms {
    Rooms::log(count, Duration::from_secs(3_600))
}

pub(crate) fn publish(room: &RoomName, rooms: Rooms, number: usize) -> Publish {
    let event = Event::json("n", &number).expect("a number is JSON");
    Publish { room: room.clone(), event, key: None, rooms }
}

/// Publishes numbers one after the other.
pub(crate) async fn publish_all(
    broker: &dyn Broker,
    room: &RoomName,
    rooms: Rooms,
    numbers: std::ops::Range<usize>,
) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(broker.publish(publish(room, rooms, number)).await.expect("it is published"));
    }
    positions
}

pub(crate) fn numbers(slice: &Slice) -> Vec<usize> {
    slice.messages.iter().map(|message| message.event().parse().expect("a number")).collect()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn program() -> PathBuf {
    let named = std::env::var_os("TIDINGS_NATS_SERVER").filter(|name| !name.is_empty());
    named.map_or_else(|| "/usr/sbin/nats-server".into(), PathBuf::from)
}
