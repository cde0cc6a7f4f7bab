//! Servers of Redis, and what only these tests ask of them.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};
use tidings_core::{Hub, Rooms};
use tidings_redis::{Builder, RedisBroker};
use tidings_testkit::{BrokerServer, ServerKind, brokers};

pub(crate) use tidings_testkit::{
    brokers::{Notes, log, numbers, publish, publish_all, room, until, within},
    free_port,
};

/// A server on a port of the loopback, with a folder of its own. It ends when it is dropped.
pub(crate) struct RedisServer(BrokerServer);

impl Deref for RedisServer {
    type Target = BrokerServer;

    fn deref(&self) -> &BrokerServer {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut BrokerServer {
        &mut self.0
    }
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
        Self(BrokerServer::start_with(ServerKind::Redis, port, args))
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

pub(crate) async fn ready(broker: &RedisBroker) {
    if tokio::time::timeout(Duration::from_secs(20), broker.ready()).await.is_err() {
        panic!("the broker is not ready: {:?}", broker.fault());
    }
}

pub(crate) fn hub(broker: RedisBroker, rooms: Rooms) -> Hub {
    brokers::hub(Arc::new(broker), rooms)
}

pub(crate) fn program() -> std::path::PathBuf {
    ServerKind::Redis.program()
}
