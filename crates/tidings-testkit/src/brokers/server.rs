//! Servers of brokers that tests start, freeze and kill.

use super::{NodeBroker, until_ready};
use crate::request;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::TempDir;
use tidings::{
    nats::{NatsBroker, Storage},
    redis::RedisBroker,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a test for each names them all")]
pub enum ServerKind {
    /// Redis.
    Redis,
    /// NATS, with JetStream or without.
    Nats,
}

impl ServerKind {
    /// What `TIDINGS_REDIS_SERVER` or `TIDINGS_NATS_SERVER` names, or Debian's.
    pub fn program(self) -> PathBuf {
        let (variable, usual) = match self {
            Self::Redis => ("TIDINGS_REDIS_SERVER", "/usr/bin/redis-server"),
            Self::Nats => ("TIDINGS_NATS_SERVER", "/usr/sbin/nats-server"),
        };
        let named = std::env::var_os(variable).filter(|name| !name.is_empty());
        named.map_or_else(|| usual.into(), PathBuf::from)
    }

    /// A node's broker on a server that forgets everything, or on what stands before it. It waits for no answer longer than
    /// half a second, and need not be ready.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn hasty_broker(self, address: SocketAddr) -> NodeBroker {
        self.broker(address, false, Some(HASTY))
    }

    /// The same, that waits as long as it does by itself.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn patient_broker(self, address: SocketAddr) -> NodeBroker {
        self.broker(address, false, None)
    }

    fn broker(self, address: SocketAddr, stores: bool, timeout: Option<Duration>) -> NodeBroker {
        let url = self.url(address);
        match self {
            Self::Redis => {
                let builder = RedisBroker::builder(&url);
                let builder = timeout.map_or(builder.clone(), |timeout| builder.timeout(timeout));
                NodeBroker::Redis(Arc::new(builder.build().expect("settings that can work")))
            }
            Self::Nats => {
                let storage = if stores { Storage::File } else { Storage::Memory };
                let builder = NatsBroker::builder(&url).storage(storage);
                let builder = timeout.map_or(builder.clone(), |timeout| builder.timeout(timeout));
                NodeBroker::Nats(Arc::new(builder.build().expect("settings that can work")))
            }
        }
    }

    fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Redis => format!("redis://{address}"),
            Self::Nats => format!("nats://{address}"),
        }
    }

    /// The arguments that it always needs.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &[],
            Self::Nats => &["-js"],
        }
    }

    fn command(self, ports: [u16; 2], folder: &Path) -> Command {
        let mut command = Command::new(self.program());
        let [port, monitor] = ports.map(|port| port.to_string());
        match self {
            Self::Redis => {
                command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir"]).arg(folder)
            }
            Self::Nats => {
                command.args(["-a", "127.0.0.1", "-p", &port, "-m", &monitor, "-sd"]).arg(folder.join("js"))
            }
        };
        command
    }
}

/// A server on a port of the loopback, with a folder of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct BrokerServer {
    kind: ServerKind,
    child: Option<Child>,
    port: u16,
    /// Where NATS tells of itself.
    monitor: u16,
    args: Vec<String>,
    folder: TempDir,
    /// Whether it comes back with what it has acknowledged.
    stores: bool,
}

impl BrokerServer {
    /// Starts a server that forgets everything when it ends. It takes connections a moment later.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(kind: ServerKind) -> Self {
        Self::begin(kind, free_port(), kind.usual(), false)
    }

    /// Starts a server that comes back with all that it has acknowledged, if it is killed and the machine goes on.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_stored(kind: ServerKind) -> Self {
        let args: &[&str] = match kind {
            // With `everysec` the write itself may wait for a sync that is under way, and what was acknowledged meanwhile goes
            // with the process.
            ServerKind::Redis => &["--appendonly", "yes", "--appendfsync", "always"],
            ServerKind::Nats => kind.usual(),
        };
        Self::begin(kind, free_port(), args, true)
    }

    /// The same, at a port.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_at(kind: ServerKind, port: u16) -> Self {
        Self::begin(kind, port, kind.usual(), false)
    }

    /// The same, at a port and with these arguments beside address and folder. JetStream is one of them.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with(kind: ServerKind, port: u16, args: &[&str]) -> Self {
        Self::begin(kind, port, args, false)
    }

    fn begin(kind: ServerKind, port: u16, args: &[&str], stores: bool) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let folder = TempDir::new().expect("a folder");
        let mut server = Self { kind, child: None, port, monitor: free_port(), args, folder, stores };
        server.restart();
        server
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn listens(&self) {
        super::within(10, "the server", async {
            while TcpStream::connect(self.address()).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// A node's broker on it, that is ready.
    ///
    /// # Panics
    /// If it is not within 20 seconds.
    pub async fn broker(&self) -> NodeBroker {
        self.listens().await;
        let broker = self.kind.broker(self.address(), self.stores, None);
        until_ready(&broker).await;
        broker
    }

    /// A node's broker on it, that waits for no answer longer than half a second, and need not be ready.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn hasty_broker(&self) -> NodeBroker {
        self.kind.broker(self.address(), self.stores, Some(HASTY))
    }

    /// Whose it is.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// Starts again what was killed, on the same port and in the same folder.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = self.kind.command([self.port, self.monitor], self.folder.path());
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {}, which this test needs: {error}; `cargo xtask test` installs it on Debian, \
                 TIDINGS_REDIS_SERVER or TIDINGS_NATS_SERVER names another",
                Path::new(command.get_program()).display()
            )
        });
        self.child = Some(child);
    }

    /// The rooms that nodes have subscribed to, as often as they have, by the server's own word.
    ///
    /// # Panics
    /// If it does not say.
    pub async fn subscribed(&self) -> Vec<String> {
        match self.kind {
            ServerKind::Redis => {
                let channels = channels(self.address()).await.expect("it answers");
                channels.iter().filter_map(|channel| channel.rsplit(':').next()).map(str::to_owned).collect()
            }
            ServerKind::Nats => {
                let address = SocketAddr::from(([127, 0, 0, 1], self.monitor));
                let answer =
                    request(address, "GET", "/connz?subs=1&limit=4096", &[], "").await.expect("it answers");
                let answer = answer.json();
                let connections = answer["connections"].as_array().expect("connections").iter();
                let subjects = connections.filter_map(|each| each["subscriptions_list"].as_array()).flatten();
                let live =
                    subjects.filter_map(|subject| subject.as_str()).filter(|name| name.contains(".live."));
                live.filter_map(|name| name.rsplit('.').next()).map(|room| room.replace("=7E", "~")).collect()
            }
        }
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its address, as a broker takes it.
    pub fn url(&self) -> String {
        self.kind.url(self.address())
    }

    /// Ends it at once, if it runs.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it has ended");
        }
    }

    /// From now on it takes everything and answers nothing.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // It stands still when all of its threads do, which is later than that it was told to.
        let stopped = waitpid(Some(self.process()), WaitOptions::UNTRACED).expect("it can be waited for");
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "it has ended");
    }

    /// It goes on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("it can be told");
    }

    fn process(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }
}

impl Drop for BrokerServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended by itself needs no more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port of the loopback that was free a moment ago, that no other test was given, and that the kernel gives to nobody who
/// connects: so it stays free while what listens there is killed and started again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(64);
    loop {
        let port = 10_000 + (first.wrapping_add(NEXT.fetch_add(1, Relaxed)) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The channels that somebody listens to.
async fn channels(server: SocketAddr) -> io::Result<Vec<String>> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    stream.get_mut().write_all(b"PUBSUB CHANNELS\r\n").await?;
    let mut lines = stream.lines();
    let mut line =
        async || lines.next_line().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof));
    // `*2`, and then for each its length and itself.
    let count = line().await?.trim_start_matches('*').parse().map_err(io::Error::other)?;
    let mut channels = Vec::new();
    for _ in 0..count {
        line().await?;
        channels.push(line().await?);
    }
    Ok(channels)
}

const HASTY: Duration = Duration::from_millis(500);
