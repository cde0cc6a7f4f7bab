//! What the application has written panics, or never ends: that is the end of one answer, and of nothing else.

use serde_json::{Value, json};
use std::{future::pending, time::Duration};
use tidings::{CallError, Event, Gate, Hub, Identity, Limits, RoomName, gate};
use tidings_testkit::{Client, Kind, Log, Refused, Server, request};

/// Fails at what is named so: by a panic before or in the answer, or by none.
async fn fail(name: &str) {
    match name {
        "panic" => panic!("a secret"),
        "never" => pending().await,
        _ => {}
    }
}

struct Failing;

impl Gate for Failing {
    fn connect<'a>(&'a self, head: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        let shown = head.headers.get("x-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        assert_ne!(shown, "panic at once");
        Box::pin(async move {
            fail(shown).await;
            Ok(Identity::anonymous())
        })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        assert_ne!(room.as_str(), "panic at once");
        Box::pin(async move {
            fail(room).await;
            Ok(())
        })
    }

    fn publish<'a>(&'a self, _: &'a Identity, _: &'a RoomName, event: &'a Event) -> gate::Decision<'a> {
        assert_ne!(event.name().as_str(), "panic at once");
        Box::pin(async move {
            fail(event.name().as_str()).await;
            Ok(())
        })
    }

    fn call<'a>(&'a self, _: &'a Identity, method: &'a str) -> gate::Decision<'a> {
        assert_ne!(method, "panic at once");
        Box::pin(async move {
            fail(method).await;
            Ok(())
        })
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    limits.call_wait = Duration::from_millis(100);
    limits.gate_wait = Duration::from_millis(100);
    let hub = Hub::builder().gate(Failing).limits(limits).build();
    hub.on_call("fail", |_, how: String| {
        assert_ne!(how, "panic at once");
        async move {
            fail(&how).await;
            Ok::<_, CallError>(how)
        }
    });
    Server::with_hub(hub).await
}

/// How it fails, and with which status and code that is answered.
const FAULTS: [(&str, u16, &str); 3] =
    [("panic", 500, "internal"), ("panic at once", 500, "internal"), ("never", 503, "unavailable")];

async fn commands_of_a_client_fail_alone(kind: Kind) {
    let server = server().await;
    let mut client = Client::connect(kind, server.address(), "r", "now").await.expect("let in");
    let mut other = Client::connect(kind, server.address(), "r", "now").await.expect("let in");
    for (how, _, code) in FAULTS {
        let mut commands = vec![
            json!({"type": "call", "ref": 1, "method": "fail", "data": how}),
            json!({"type": "call", "ref": 2, "method": how, "data": null}),
            json!({"type": "publish", "ref": 3, "room": "r", "event": how, "data": 1}),
        ];
        if kind == Kind::Ws {
            commands.push(json!({"type": "join", "ref": 4, "room": how, "from": "now"}));
        }
        for command in commands {
            let answer = client.command(&command).await;
            assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &code.into()), "{command}");
            assert!(!answer.to_string().contains("secret"), "{answer}");
        }
    }
    // The same client, room and methods work on, and so do those of others.
    let answer = client.command(&json!({"type": "call", "ref": 5, "method": "fail", "data": "not"})).await;
    assert_eq!(answer["data"], "not");
    for number in 1..=3 {
        client.publish("n", number.into(), None).await;
        assert_eq!((client.number().await, other.number().await), (number, number));
    }
    drop((client, other));
    server.until_sessions(0, Duration::from_secs(5)).await;
}

async fn connections_and_joins_fail_alone(kind: Kind) {
    let server = server().await;
    for (how, status, code) in FAULTS {
        let room = how.replace(' ', "%20");
        let refused = Client::connect(kind, server.address(), &room, "now").await.expect_err("refused");
        let Refused { status: got, code: said, .. } = refused;
        assert_eq!((got, &*said), (status, code), "{how}");
        let header = format!("x-name: {how}");
        let answer = request(server.address(), "GET", "/realtime/poll?room=r", &[&header], "").await;
        assert_eq!(answer.expect("an answer").status, status, "{how}");
    }
    let mut client = Client::connect(kind, server.address(), "r", "now").await.expect("let in");
    server.publish("r", 1).await;
    assert_eq!(client.number().await, 1);
    drop(client);
    server.until_sessions(0, Duration::from_secs(5)).await;
    assert_eq!(server.hub().drain(Duration::from_secs(5)).await, 0);
}

tidings_testkit::mount!(commands_of_a_client_fail_alone, connections_and_joins_fail_alone);

#[tokio::test]
async fn the_log_is_told_once_a_second_and_not_what_the_panic_said() {
    let (log, _guard) = Log::begin();
    let server = server().await;
    let call = json!({"type": "call", "ref": 1, "method": "fail", "data": "panic"}).to_string();
    for _ in 0..20 {
        let answer =
            request(server.address(), "POST", "/realtime/send", &[], call.clone()).await.expect("an answer");
        assert_eq!((answer.status, &answer.json()["code"]), (500, &Value::from("internal")));
    }
    assert!((1..=2).contains(&log.lines(&["ERROR", "call"]).len()), "{:?}", log.lines(&["ERROR"]));
    assert_eq!(log.lines(&["secret"]), [""; 0]);
}
