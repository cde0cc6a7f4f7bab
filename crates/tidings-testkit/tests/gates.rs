//! A gate that does not answer, or panics, costs what was asked for and nothing else.

use serde_json::json;
use std::{
    future::pending,
    time::{Duration, Instant},
};
use tidings::{
    CallError, Denied, Event, Gate, Hub, Identity, Limits, RoomName,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{Client, Kind, Server, mount};

const SOON: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_millis(300);

/// Does what the words say that it is asked about.
struct Unwell;

fn ill<'a, T: Send + 'a>(word: &str, well: T) -> Decision<'a, T> {
    match word {
        "stuck" => Box::pin(pending()),
        "broken" => panic!("a gate's own fault"),
        "late-broken" => Box::pin(async {
            tokio::task::yield_now().await;
            panic!("a gate's own fault")
        }),
        "down" => Box::pin(async { Err(Denied::unavailable("no database")) }),
        _ => Box::pin(async { Ok(well) }),
    }
}

impl Gate for Unwell {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let word = head.headers.get("word").map_or("", |word| word.to_str().expect("a word"));
        ill(word, Identity::user("alice"))
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        ill(room.as_str(), ())
    }

    fn publish<'a>(&'a self, _: &'a Identity, _: &'a RoomName, event: &'a Event) -> Decision<'a> {
        ill(event.name(), ())
    }

    fn call<'a>(&'a self, _: &'a Identity, method: &'a str) -> Decision<'a> {
        ill(method, ())
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    limits.gate_wait = WAIT;
    let hub = Hub::builder().gate(Unwell).limits(limits).build();
    hub.on_call("fails", |_, (): ()| async {
        if true { panic!("a method's own fault") } else { Ok::<(), CallError>(()) }
    });
    Server::with_hub(hub).await
}

const ILLS: [(&str, u16, &str); 4] = [
    ("stuck", 503, "unavailable"),
    ("down", 503, "unavailable"),
    ("broken", 500, "internal"),
    ("late-broken", 500, "internal"),
];

async fn who_cannot_be_judged_is_refused(kind: Kind) {
    let server = server().await;
    for (word, status, code) in ILLS {
        let begin = Instant::now();
        let header = format!("word: {word}");
        for refused in [
            Client::connect_with(kind, server.address(), "a", "now", &[&header])
                .await
                .expect_err("no answer is a no"),
            Client::connect(kind, server.address(), word, "now").await.expect_err("no answer is a no"),
        ] {
            assert_eq!((refused.status, refused.code.as_str()), (status, code), "{word}");
        }
        assert!(begin.elapsed() < 2 * WAIT + Duration::from_secs(2), "{word}: {:?}", begin.elapsed());
    }
    // Neither the server nor anything in it is the worse for it.
    let mut client = Client::connect(kind, server.address(), "a", "now").await.expect("let in");
    server.publish("a", 1).await;
    assert_eq!(client.number().await, 1);
    drop(client);
    server.until_sessions(0, SOON).await;
}

async fn a_command_that_cannot_be_judged_is_not_done_and_the_next_one_is(kind: Kind) {
    let server = server().await;
    let mut client = Client::connect(kind, server.address(), "a", "now").await.expect("let in");
    for (word, _, code) in ILLS {
        for command in [
            json!({"type": "publish", "ref": 1, "room": "a", "event": word, "data": 1}),
            json!({"type": "call", "ref": 2, "method": word}),
        ] {
            let answer = client.command(&command).await;
            assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{command}");
        }
    }
    let answer = client.command(&json!({"type": "call", "ref": 3, "method": "fails", "data": null})).await;
    assert_eq!(answer["code"], "internal");
    let answer = client.publish("n", json!(2), None).await;
    assert_eq!(answer["type"], "reply", "{answer}");
    assert_eq!(client.number().await, 2);
}

mount!(who_cannot_be_judged_is_refused, a_command_that_cannot_be_judged_is_not_done_and_the_next_one_is);

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_cannot_be_judged_leaves_the_session_in_its_other_rooms() {
    let server = server().await;
    let mut client = Client::connect(Kind::Ws, server.address(), "a", "now").await.expect("let in");
    for (word, _, code) in ILLS {
        let answer = client.command(&json!({"type": "join", "ref": 1, "room": word})).await;
        assert_eq!(answer["code"], code, "{word}");
    }
    server.publish("a", 7).await;
    assert_eq!(client.number().await, 7);
}
