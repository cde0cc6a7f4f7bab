//! Bad input gets an answer that says what was wrong, and never a panic or a 5xx.

use serde_json::json;
use tidings::{Denied, Event, Gate, Hub, Identity, Limits, RoomName, gate};
use tidings_testkit::{Answer, Client, Kind, Server, request, within};

async fn get(server: &Server, target: &str) -> Answer {
    request(server.address(), "GET", target, &[], "").await.expect("an answer")
}

async fn post(server: &Server, body: impl Into<bytes::Bytes>) -> Answer {
    request(server.address(), "POST", "/realtime/send", &[], body).await.expect("an answer")
}

fn says(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.header("cache-control").contains("no-store"), "{:?}", answer.headers);
    let error = answer.json();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{error}");
}

#[tokio::test]
async fn an_unknown_address_is_404() {
    let server = Server::start().await;
    for target in
        ["/", "/realtime", "/realtime/", "/realtime/nothing", "/realtime/sse/", "/x/sse", "/realtimesse"]
    {
        says(&get(&server, target).await, 404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let server = Server::start().await;
    for (method, path, allow) in [
        ("POST", "sse", "GET, OPTIONS"),
        ("PUT", "poll", "GET, OPTIONS"),
        ("DELETE", "ws", "GET, OPTIONS"),
        ("GET", "send", "POST, OPTIONS"),
    ] {
        let target = format!("/realtime/{path}?room=a");
        let answer = request(server.address(), method, &target, &[], "").await.expect("an answer");
        says(&answer, 405, "method");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn a_bad_room_name_or_cursor_is_400_on_every_transport() {
    let server = Server::start().await;
    let long = "x".repeat(201);
    for kind in Kind::ALL {
        for (room, from, code) in [
            ("", "now", "bad_room"),
            ("a%0Ab", "now", "bad_room"),
            ("~a", "now", "bad_room"),
            (long.as_str(), "now", "bad_room"),
            ("a&room=a", "now", "bad_room"),
            ("%ff", "now", "bad_query"),
            ("a", "yesterday", "bad_cursor"),
            ("a", "now&from=now", "bad_query"),
        ] {
            // The first answer of a poll comes without a cursor; with one it is refused at the first request.
            let error = match Client::connect(kind, server.address(), room, from).await {
                Err(refused) => (refused.status, refused.code),
                Ok(_) if kind == Kind::Poll => {
                    let answer = get(&server, &format!("/realtime/poll?room={room}&from={from}")).await;
                    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
                }
                Ok(client) => panic!("{kind:?} let {client:?} in"),
            };
            assert_eq!(error, (400, code.to_owned()), "{kind:?} {room:?} {from:?}");
        }
    }
    says(&get(&server, "/realtime/sse").await, 400, "bad_room");
    says(&get(&server, "/realtime/poll").await, 400, "bad_room");
    says(&get(&server, "/realtime/poll?room=a&wait=-1").await, 400, "bad_query");
    says(&get(&server, "/realtime/sse?room=a&format=xml").await, 400, "bad_query");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_not() {
    let mut limits = Limits::default();
    limits.message = 1_000;
    let server = Server::with_hub(Hub::builder().gate(gate::open()).limits(limits).build()).await;
    let body = |len: usize| {
        let head = r#"{"type":"publish","room":"a","event":"e","data":""#;
        format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
    };
    assert_eq!(post(&server, body(1_000)).await.status, 200);
    says(&post(&server, body(1_001)).await, 413, "too_large");
    says(&post(&server, vec![b' '; 10 << 20]).await, 413, "too_large");
}

#[tokio::test]
async fn a_compressed_body_is_415_whatever_it_was_sent_to() {
    let server = Server::start().await;
    let publish = r#"{"type":"publish","room":"a","event":"e"}"#;
    let ask = async |method: &str, path: &str, headers: &[&str], body: &'static str| {
        request(server.address(), method, &format!("/realtime/{path}"), headers, body)
            .await
            .expect("an answer")
    };
    for headers in [
        &["content-encoding: gzip"][..],
        &["content-encoding: GZIP"],
        &["content-encoding: deflate, gzip"],
        &["content-encoding: identity", "content-encoding: br"],
        &["content-encoding: unheard-of"],
    ] {
        for (method, path) in [("POST", "send"), ("GET", "poll?room=a"), ("GET", "sse?room=a"), ("GET", "ws")]
        {
            let answer = ask(method, path, headers, publish).await;
            says(&answer, 415, "encoding");
            assert_eq!(answer.header("accept-encoding"), "identity");
        }
    }
    for headers in [&["content-encoding: identity"][..], &["content-encoding: Identity, identity"]] {
        assert_eq!(ask("POST", "send", headers, publish).await.status, 200, "{headers:?}");
    }
    // There is nothing to inflate.
    assert_eq!(ask("GET", "poll?room=a", &["content-encoding: gzip"], "").await.status, 200);
}

#[tokio::test]
async fn a_request_that_is_no_websocket_handshake_is_400_or_426() {
    let server = Server::start().await;
    let answer = get(&server, "/realtime/ws?room=a").await;
    says(&answer, 426, "upgrade");
    assert_eq!(answer.header("upgrade"), "websocket");
    let half = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
    let answer = request(server.address(), "GET", "/realtime/ws", &half, "").await.expect("an answer");
    says(&answer, 400, "handshake");
}

#[tokio::test]
async fn what_is_no_command_is_answered_in_the_body_of_a_post() {
    let server = Server::start().await;
    for (body, code) in [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[{]", "bad_json"),
        ("7", "bad_command"),
        ("{}", "bad_command"),
        (r#"{"type":"publish","room":"","event":"e"}"#, "bad_room"),
        (r#"{"type":"publish","room":"a","event":"tidings.gap"}"#, "bad_event"),
        (r#"{"type":"join","room":"a"}"#, "no_stream"),
    ] {
        says(&post(&server, body).await, 400, code);
    }
    says(&post(&server, r#"{"type":"call","method":"nothing"}"#).await, 404, "unknown_method");
    let many = format!("[{}]", vec!["{}"; 65].join(","));
    says(&post(&server, many).await, 400, "too_many");
    assert_eq!(post(&server, "[]").await.json(), json!([]));
}

#[tokio::test]
async fn what_is_no_command_is_an_error_frame_and_the_websocket_stays() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let server = Server::start().await;
    let url = format!("ws://{}/realtime/ws", server.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("let in");
    for (text, code) in [
        (Message::text("{"), "bad_json"),
        (Message::text("[]"), "bad_command"),
        (Message::text(r#"{"type":"dance"}"#), "bad_command"),
        (Message::text(r#"{"type":"join","room":"a\u0000"}"#), "bad_room"),
        (Message::text(r#"{"type":"join","room":"a","from":"x"}"#), "bad_cursor"),
        (Message::binary(&b"abc"[..]), "bad_command"),
        (Message::text(r#"{"type":"call","method":"nothing"}"#), "unknown_method"),
    ] {
        socket.send(text).await.expect("still open");
        let answer = socket.next().await.expect("an answer").expect("still open");
        let error: serde_json::Value = serde_json::from_str(answer.to_text().expect("text")).expect("JSON");
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)));
    }
    socket
        .send(Message::text(r#"{"type":"publish","ref":1,"room":"a","event":"e"}"#))
        .await
        .expect("still open");
    let answer = socket.next().await.expect("an answer").expect("still open");
    assert!(answer.to_text().expect("text").starts_with(r#"{"type":"reply","ref":1,"id":"p"#), "{answer}");
}

#[tokio::test]
async fn a_node_takes_only_so_many_rooms() {
    let mut limits = Limits::default();
    limits.node_rooms = 3;
    let server = Server::with_hub(Hub::builder().gate(gate::open()).limits(limits).build()).await;
    let mut clients = Vec::new();
    for room in ["a", "b", "c"] {
        clients.push(Client::connect(Kind::Sse, server.address(), room, "now").await.expect("let in"));
    }
    let refused = get(&server, "/realtime/poll?room=d").await;
    says(&refused, 503, "busy");
    assert_eq!(refused.header("retry-after"), "2");
    // A browser's stream would never come back after an error.
    let browser = ["accept: text/event-stream"];
    let later =
        request(server.address(), "GET", "/realtime/sse?room=d", &browser, "").await.expect("an answer");
    assert_eq!((later.status, later.header("content-type")), (200, "text/event-stream"));
    assert!(later.body.starts_with(b": not now\nretry: "), "{:?}", later.body);
    assert_eq!(get(&server, "/realtime/poll?room=a").await.status, 200);
    // A room that nobody is in any more makes place.
    clients.pop();
    server.until_sessions(2, std::time::Duration::from_secs(1)).await;
    // Places are looked for a few times a second.
    within(std::time::Duration::from_secs(2), "a place", async {
        while get(&server, "/realtime/poll?room=d").await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

struct Picky;

impl Gate for Picky {
    fn connect<'a>(&'a self, head: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
        let known = head.headers.contains_key("authorization");
        Box::pin(async move {
            if known { Ok(Identity::user("ann")) } else { Err(Denied::unauthorized("who are you?")) }
        })
    }

    fn join<'a>(&'a self, who: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        let may = who.name() == Some("ann") && room.as_str() != "secret";
        Box::pin(async move { if may { Ok(()) } else { Err(Denied::forbidden("not this room")) } })
    }
}

#[tokio::test]
async fn the_gate_is_asked_before_anything_is_told() {
    let server = Server::with_hub(Hub::builder().gate(Picky).build()).await;
    let known = ["authorization: Bearer x"];
    let ask = async |headers: &[&str], path: &str| {
        let target = format!("/realtime/{path}");
        request(server.address(), "GET", &target, headers, "").await.expect("an answer")
    };
    let upgrade = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "authorization: Bearer x",
    ];
    for path in ["sse?room=a", "poll?room=a"] {
        says(&ask(&[], path).await, 401, "unauthorized");
    }
    says(&ask(&upgrade[..4], "ws?room=a").await, 401, "unauthorized");
    for path in ["sse?room=secret", "poll?room=secret", "poll?room=secret&cursor=p1.1.1"] {
        says(&ask(&known, path).await, 403, "forbidden");
    }
    says(&ask(&upgrade, "ws?room=secret").await, 403, "forbidden");
    assert_eq!(ask(&known, "poll?room=a").await.status, 200);
    assert_eq!(server.sessions(), 0);
}

/// Takes numbers below ten.
struct Careful;

impl Gate for Careful {
    fn connect<'a>(&'a self, _: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
        Box::pin(std::future::ready(Ok(Identity::anonymous())))
    }

    fn publish<'a>(&'a self, _: &'a Identity, _: &'a RoomName, event: &'a Event) -> gate::Decision<'a> {
        let few = event.parse::<u64>().is_ok_and(|number| number < 10);
        let refused = || Denied::invalid("too_many_sheep", "at most nine fit in here");
        Box::pin(async move { if few { Ok(()) } else { Err(refused()) } })
    }
}

#[tokio::test]
async fn a_gate_refuses_an_event_with_a_code_of_its_own() {
    let server = Server::with_hub(Hub::builder().gate(Careful).build()).await;
    let publish = |number| json!({"type": "publish", "ref": 1, "room": "a", "event": "n", "data": number});
    says(&post(&server, publish(10).to_string()).await, 400, "too_many_sheep");
    assert_eq!(post(&server, publish(9).to_string()).await.json()["type"], "reply");
    let mut client = Client::connect(Kind::Ws, server.address(), "a", "start").await.expect("let in");
    let error = client.publish("n", json!(10), None).await;
    assert_eq!(error["code"], "too_many_sheep", "{error}");
    assert_eq!(client.number().await, 9, "the connection stays");
}
