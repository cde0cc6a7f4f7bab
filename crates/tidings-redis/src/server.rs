//! One server, and the connection by which it is asked.

use crate::{
    live::Live,
    names::Names,
    script::{self, Request},
    watch::Watches,
};
use rand::RngExt;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, PushInfo, PushKind, RedisError,
    ServerErrorKind, Value,
    aio::{AsyncPushSender, MultiplexedConnection},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidings_core::broker::BrokerError;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

/// What all servers of a broker have in common.
pub(crate) struct Common {
    pub(crate) names: Names,
    pub(crate) timeout: Duration,
    pub(crate) watches: Watches,
    /// Whether they are a cluster, where each channel is one server's.
    pub(crate) cluster: bool,
    /// Told of whatever changes in what works.
    pub(crate) told: watch::Sender<()>,
    /// Told when rooms may have gone to another server.
    pub(crate) look: Notify,
}

/// One server.
pub(crate) struct Server {
    pub(crate) common: Arc<Common>,
    pub(crate) client: Client,
    pub(crate) live: Live,
    asked: Mutex<Asked>,
    /// Told when it may have stopped to answer.
    doubt: Arc<Notify>,
}

/// A server while it is used. The connections end when it is dropped.
pub(crate) struct InUse {
    pub(crate) server: Arc<Server>,
    tasks: [JoinHandle<()>; 2],
}

/// The connection by which it is asked.
enum Asked {
    Beginning,
    By(MultiplexedConnection),
    /// Something was not answered. Nothing more is asked until it is known whether the rest is.
    Doubtful,
    Not(String),
}

/// Why a server did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was done.
    Refused(String),
    /// Nothing was done, for another server is to be asked, or this one a little later.
    Elsewhere(String),
    /// There was no answer.
    Unknown(String),
}

impl Server {
    /// Begins to use a server, which is connected to in the background.
    pub(crate) fn start(common: &Arc<Common>, info: ConnectionInfo) -> Result<InUse, RedisError> {
        let server = Arc::new(Self {
            common: Arc::clone(common),
            client: Client::open(info)?,
            live: Live::default(),
            asked: Mutex::new(Asked::Beginning),
            doubt: Arc::default(),
        });
        let asked = tokio::spawn(Arc::clone(&server).run());
        let live = tokio::spawn(Live::run(Arc::clone(&server)));
        Ok(InUse { server, tasks: [asked, live] })
    }

    pub(crate) fn name(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let fault = match &*self.asked.lock().unwrap_or_else(PoisonError::into_inner) {
            Asked::Beginning => Some("is not reached yet".to_owned()),
            Asked::By(_) => self.live.fault(),
            Asked::Doubtful => Some(LATE.to_owned()),
            Asked::Not(fault) => Some(fault.clone()),
        };
        fault.map(|fault| format!("{}: {fault}", self.name()))
    }

    /// Does what is asked.
    pub(crate) async fn request(&self, request: &Request<'_>, deadline: Instant) -> Result<Value, Failure> {
        let mut connection = self.connection(deadline).await.map_err(Failure::Refused)?;
        if Instant::now() >= deadline {
            // Else it were sent, and nobody would wait for what comes of it.
            return Err(Failure::Refused(format!("{} has no time left", self.name())));
        }
        let mut send = async |command: &Cmd| {
            connection.send_packed_command(command).await.and_then(Value::extract_error)
        };
        let answer = timeout_at(deadline, async {
            match request {
                Request::Command(command) => send(command).await,
                Request::Run(run) => match send(&run.by_hash()).await {
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        send(&run.in_full()).await
                    }
                    answer => answer,
                },
            }
        });
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => {
                self.doubt();
                Err(Failure::Unknown(format!("{} {LATE}", self.name())))
            }
        }
    }

    fn failed(&self, error: &RedisError) -> Failure {
        let why = format!("{}: {error}", self.name());
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly,
            ) => {
                // The slot is another's by now, or it is no master any more.
                self.doubt.notify_one();
                self.common.look.notify_one();
                Failure::Elsewhere(why)
            }
            ErrorKind::Server(_) | ErrorKind::Extension => Failure::Refused(why),
            _ => {
                self.doubt();
                Failure::Unknown(why)
            }
        }
    }

    fn doubt(&self) {
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(&*asked, Asked::By(_)) {
                *asked = Asked::Doubtful;
            }
        }
        self.common.told.send_replace(());
        self.doubt.notify_one();
    }

    /// The connection; nobody waits for one, except at the start, when it is not known whether there will be one.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<MultiplexedConnection, String> {
        let mut told = self.common.told.subscribe();
        loop {
            match &*self.asked.lock().unwrap_or_else(PoisonError::into_inner) {
                Asked::By(connection) => return Ok(connection.clone()),
                Asked::Doubtful => return Err(format!("{} {LATE}", self.name())),
                Asked::Not(fault) => return Err(format!("{}: {fault}", self.name())),
                Asked::Beginning => {}
            }
            if timeout_at(deadline, told.changed()).await.is_err() {
                return Err(format!("{} is not reached yet", self.name()));
            }
        }
    }

    /// Opens a connection. What comes unasked on it is handed to `pushed`.
    pub(crate) async fn open(&self, pushed: impl AsyncPushSender) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.common.timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE)
            .set_push_sender(pushed);
        match timeout(self.common.timeout, self.client.get_multiplexed_async_connection_with_config(&config))
            .await
        {
            Ok(connection) => connection.map_err(|error| error.to_string()),
            Err(_) => Err("does not answer".to_owned()),
        }
    }

    async fn run(self: Arc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            let begun = Instant::now();
            let Err(why) = self.serve().await;
            self.set(Asked::Not(why));
            self.common.look.notify_one();
            sleep(pauses.next(begun)).await;
        }
    }

    async fn serve(&self) -> Result<std::convert::Infallible, String> {
        let doubt = Arc::clone(&self.doubt);
        let mut connection = self
            .open(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    doubt.notify_one();
                }
                Ok::<_, redis::aio::SendError>(())
            })
            .await?;
        self.check(&mut connection).await?;
        for script in script::all() {
            self.ask(&mut connection, &script.load()).await?;
        }
        loop {
            self.set(Asked::By(connection.clone()));
            let pause = rand::rng().random_range(CHECK / 2..CHECK);
            let _ = timeout(pause, self.doubt.notified()).await;
            self.check(&mut connection).await?;
        }
    }

    /// Whether it answers and is a master.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let asked = timeout(self.common.timeout, connection.send_packed_command(&redis::cmd("ROLE"))).await;
        let role = asked.map_err(|_| "does not answer")?.map_err(|error| error.to_string())?;
        match role {
            // Whoever may not ask that finds out when it writes.
            Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoPerm) => Ok(()),
            Value::ServerError(error) => Err(RedisError::from(error).to_string()),
            Value::Array(parts) if parts.first().is_some_and(|role| is_text(role, b"slave")) => {
                Err("is a replica".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Asks what must be answered with no error.
    pub(crate) async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Value, String> {
        let asked = timeout(self.common.timeout, connection.send_packed_command(command)).await;
        let answer = asked.map_err(|_| "does not answer")?;
        answer.and_then(Value::extract_error).map_err(|error| error.to_string())
    }

    fn set(&self, asked: Asked) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        self.common.told.send_replace(());
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Whoever still has it must not wait for what does not come.
        self.server.set(Asked::Not("is not used any more".to_owned()));
    }
}

impl Failure {
    pub(crate) fn error(self) -> BrokerError {
        match self {
            Self::Refused(why) | Self::Elsewhere(why) => BrokerError::Unavailable(why),
            Self::Unknown(why) => BrokerError::Unknown(why),
        }
    }
}

pub(crate) fn is_text(value: &Value, text: &[u8]) -> bool {
    match value {
        Value::BulkString(bytes) => bytes == text,
        Value::SimpleString(simple) => simple.as_bytes() == text,
        _ => false,
    }
}

/// Pauses between attempts to reach what is away: ever longer, with full jitter, for what lost its server together must
/// not come back together.
#[derive(Debug, Default)]
pub(crate) struct Pauses(u32);

impl Pauses {
    /// The next pause, after an attempt that began then.
    pub(crate) fn next(&mut self, begun: Instant) -> Duration {
        // What worked for a while is away only now.
        self.0 = if begun.elapsed() > LAST_PAUSE { 0 } else { (self.0 + 1).min(16) };
        let most = FIRST_PAUSE.saturating_mul(1 << self.0).min(LAST_PAUSE);
        rand::rng().random_range(FIRST_PAUSE / 5..most)
    }
}

const LATE: &str = "did not answer in time";
/// How often it is asked whether it still is there.
pub(crate) const CHECK: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest that nobody tries to reach a server that is back.
const LAST_PAUSE: Duration = Duration::from_secs(3);
/// Commands that wait to be written. What waits in all is bounded by what may be under way.
const QUEUE: usize = 256;
/// Bytes that are gathered into one write.
const WRITE: usize = 64 << 10;
