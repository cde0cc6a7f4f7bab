//! Servers of Redis that the tests start, freeze and kill.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use tempfile::TempDir;
use tidings_core::{Event, Position, RoomName, Rooms, broker::*};
use tidings_redis::{Builder, RedisBroker};

/// A server on a free port of the loopback, with a folder of its own. It ends when it is dropped.
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    args: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// A server that forgets everything when it ends.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with arguments beside address and folder.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    pub(crate) fn on(port: u16, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let folder = TempDir::new().expect("a directory");
        let mut server = Self { child: None, port, args, folder };
        server.restart();
        server
    }

    /// Starts again what was killed, on the same port and in the same folder.
    pub(crate) fn restart(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a file");
        let program = program();
        let child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.args)
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {}, which these tests need: {error}; `cargo xtask test` installs it on Debian, \
                     TIDINGS_REDIS_SERVER names another",
                    program.display()
                )
            });
        self.child = Some(child);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        RedisBroker::builder(&self.url())
    }

    pub(crate) async fn broker(&self) -> RedisBroker {
        let broker = self.builder().build().expect("settings that can work");
        ready(&broker).await;
        broker
    }

    /// What an administrator asks, until the server is there to answer.
    pub(crate) async fn admin<T: redis::FromRedisValue>(&self, command: &str) -> T {
        within(10, command, async {
            loop {
                match self.try_admin(command).await {
                    Ok(answer) => return answer,
                    Err(error) if error.is_io_error() || error.code() == Some("LOADING") => {}
                    Err(error) => panic!("{command}: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    pub(crate) async fn try_admin<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut connection).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// For a server that comes back with what it has acknowledged, though not if the whole machine fails.
pub(crate) const STORED: &[&str] = &["--appendonly", "yes", "--appendfsync", "no"];

pub(crate) async fn ready(broker: &RedisBroker) {
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

/// A port that was free a moment ago, that no other test was given, and that the kernel gives to nobody who connects.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 64;
    loop {
        let port = 10_000 + ((first + NEXT.fetch_add(1, Relaxed)) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("TIDINGS_REDIS_SERVER").filter(|name| !name.is_empty());
    named.map_or_else(|| "/usr/bin/redis-server".into(), PathBuf::from)
}
