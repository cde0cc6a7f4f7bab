//! A broker that is away: clients are told so, and so is the operator, who hears of it nowhere else.

use serde_json::json;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tidings::{
    Hub, Limits, MemoryBroker, Position, RoomName, Rooms,
    broker::{Answer, Broker, BrokerError, Publish, ReadFrom, Sink, Slice},
    gate,
};
use tidings_testkit::{Log, Server, request};

/// A broker that can be away.
#[derive(Debug, Default)]
struct Fickle {
    memory: MemoryBroker,
    away: AtomicBool,
}

impl Fickle {
    fn there(&self) -> Result<(), BrokerError> {
        let away = self.away.load(SeqCst);
        if away { Err(BrokerError::Unavailable("no route to it".to_owned())) } else { Ok(()) }
    }
}

impl Broker for Fickle {
    fn attach(&self, sink: Weak<dyn Sink>) {
        self.memory.attach(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        Box::pin(async move {
            self.there()?;
            self.memory.publish(publish).await
        })
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        Box::pin(async move {
            self.there()?;
            self.memory.watch(room, rooms).await
        })
    }

    fn unwatch(&self, room: &RoomName) {
        self.memory.unwatch(room);
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        Box::pin(async move {
            self.there()?;
            self.memory.read(room, rooms, from, limit).await
        })
    }
}

#[tokio::test]
async fn the_log_says_what_is_wrong_with_the_broker_once_a_second_and_clients_are_not_told() {
    let (log, _logging) = Log::begin();
    let broker = Arc::<Fickle>::default();
    let mut limits = Limits::default();
    limits.join_wait = Duration::from_millis(300);
    // More than a node holds itself.
    let rooms = Rooms::log(5_000, Duration::from_secs(60));
    let hub = Hub::builder()
        .gate(gate::open())
        .rooms("*", rooms)
        .limits(limits)
        .broker(Arc::clone(&broker) as _)
        .build();
    let server = Server::with_hub(hub).await;
    for number in 0..1_100 {
        server.publish("QxZ7room", number).await;
    }
    let first = request(server.address(), "GET", "/realtime/poll?room=QxZ7room", &[], "").await;
    assert_eq!(first.expect("an answer").status, 200);
    broker.away.store(true, SeqCst);
    let publish = json!({"type": "publish", "room": "QxZ7room", "event": "QxZ7event", "data": "QxZ7data"});
    for _ in 0..5 {
        for (method, target, body) in [
            ("POST", "send", publish.to_string()),
            // A room that is not known yet, and what lies deeper than what the node holds.
            ("GET", "poll?room=QxZ7new", String::new()),
            ("GET", "poll?room=QxZ7room&from=start", String::new()),
        ] {
            let answer = request(server.address(), method, &format!("/realtime/{target}"), &[], body).await;
            let answer = answer.expect("an answer");
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (503, Some("unavailable")),
                "{target}"
            );
            assert!(!answer.json().to_string().contains("no route"), "{answer:?}");
        }
    }
    for asked in ["publish", "watch", "read"] {
        let lines = log.lines(&["WARN", "tidings", "no route to it", &format!("asked=\"{asked}\"")]);
        assert!((1..=6).contains(&lines.len()), "{asked}: {lines:?}");
    }
    assert_eq!(log.lines(&["QxZ7"]), [""; 0]);
}
