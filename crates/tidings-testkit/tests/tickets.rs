//! A ticket brings whoever asked for it in, once, on every transport.

use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tidings::{
    Denied, Gate, Hub, Identity, Limits,
    gate::{Decision, RequestHead, bearer},
};
use tidings_testkit::{
    Answer, Client, Kind, Log, RawSocket, Server, mount,
    raw::{answer, handshake},
    request, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SOON: Duration = Duration::from_secs(10);

/// Takes the names of users for tokens; who is called `brief` is known for a second.
struct Names;

impl Gate for Names {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let user = bearer(head).map(Identity::user);
        Box::pin(async move {
            let user = user.ok_or_else(|| Denied::unauthorized("who is it?"))?;
            let is_brief = user.name() == Some("brief");
            Ok(if is_brief { user.with_expiry(SystemTime::now() + Duration::from_secs(1)) } else { user })
        })
    }

    fn publish<'a>(
        &'a self,
        who: &'a Identity,
        _: &'a tidings::RoomName,
        _: &'a tidings::Event,
    ) -> Decision<'a> {
        let name = who.name().unwrap_or_default();
        Box::pin(async move { Err(Denied::invalid("it_is", name)) })
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    limits.user_sessions = 20;
    Server::with_hub(Hub::builder().gate(Names).limits(limits).build()).await
}

async fn ask(server: &Server, headers: &[&str]) -> Answer {
    within(SOON, "an answer", request(server.address(), "POST", "/realtime/ticket", headers, ""))
        .await
        .expect("an answer")
}

async fn ticket(server: &Server, user: &str) -> String {
    let answer = ask(server, &[&format!("authorization: Bearer {user}")]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let answer = answer.json();
    assert_eq!(answer["expires_in"], 30);
    answer["ticket"].as_str().expect("a ticket").to_owned()
}

/// The status of an answer and, of an error, its code. Of what has no end the head is enough.
async fn connect(server: &Server, endpoint: &str, query: &str) -> (u16, String) {
    let target = format!("/realtime/{endpoint}?room=a{query}");
    if endpoint == "poll" {
        let answer = request(server.address(), "GET", &target, &[], "").await.expect("an answer");
        return (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned());
    }
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    stream.write_all(handshake(&target, &[]).as_bytes()).await.expect("sent");
    let head = answer(&mut stream).await.expect("an answer");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line"), String::new())
}

const GOOD: [(&str, u16); 3] = [("ws", 101), ("sse", 200), ("poll", 200)];

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_any_transport_once() {
    let server = server().await;
    for (endpoint, good) in GOOD {
        let ticket = ticket(&server, "alice").await;
        // What is wrong with the rest of the request does not use it up.
        assert_eq!(connect(&server, endpoint, &format!("&from=x&ticket={ticket}")).await.0, 400);
        assert_eq!(connect(&server, endpoint, &format!("&ticket={ticket}&ticket={ticket}")).await.0, 400);
        assert_eq!(connect(&server, endpoint, &format!("&ticket={ticket}")).await.0, good, "{endpoint}");
        assert_eq!(connect(&server, endpoint, &format!("&ticket={ticket}")).await.0, 401, "{endpoint}");
        for bad in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", "%00"] {
            assert_eq!(connect(&server, endpoint, &format!("&ticket={bad}")).await.0, 401, "{bad:?}");
        }
        assert_eq!(connect(&server, endpoint, "").await.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stands_for_the_identity_that_asked() {
    let server = server().await;
    let target = format!("/realtime/ws?ticket={}", ticket(&server, "alice").await);
    // Whatever else is shown.
    let mut socket = RawSocket::connect(server.address(), &target, &["authorization: Bearer mallory"]).await;
    let publish = json!({"type": "publish", "ref": 1, "room": "a", "event": "e"});
    socket.send(&tidings_testkit::raw::masked(0x81, publish.to_string().as_bytes())).await;
    assert_eq!(socket.json().await["message"], "alice");
    // It ends when the identity does.
    let target = format!("/realtime/ws?ticket={}", ticket(&server, "brief").await);
    let mut socket = RawSocket::connect(server.address(), &target, &[]).await;
    assert_eq!(socket.json().await, json!({"type": "close", "code": "expired"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_it_at_once_one_comes_in() {
    let server = server().await;
    for _ in 0..10 {
        let target = format!("/realtime/poll?room=a&ticket={}", ticket(&server, "alice").await);
        let polls: Vec<_> = (0..16)
            .map(|_| {
                let (address, target) = (server.address(), target.clone());
                tokio::spawn(async move {
                    request(address, "GET", &target, &[], "").await.expect("an answer").status
                })
            })
            .collect();
        let mut let_in = 0;
        for poll in polls {
            let_in += usize::from(poll.await.expect("no panic") == 200);
        }
        assert_eq!(let_in, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_come_in_gets_none() {
    let server = server().await;
    let nobody = ask(&server, &[]).await;
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, "Bearer"));
    let elsewhere = ask(&server, &["authorization: Bearer alice", "origin: https://evil.example"]).await;
    assert_eq!((elsewhere.status, &elsewhere.json()["code"]), (403, &json!("origin")));
    let read =
        request(server.address(), "GET", "/realtime/ticket", &["authorization: Bearer alice"], "").await;
    let read = read.expect("an answer");
    assert_eq!((read.status, read.header("allow")), (405, "POST, OPTIONS"));
    // A ticket buys no ticket, and sends nothing.
    let ticket = ticket(&server, "alice").await;
    for endpoint in ["ticket", "send"] {
        let target = format!("/realtime/{endpoint}?ticket={ticket}");
        let answer = request(server.address(), "POST", &target, &[], r#"{"type":"ping"}"#).await;
        assert_eq!(answer.expect("an answer").status, 401, "{endpoint}");
    }
    // A preflight asks for nobody.
    let preflight = request(
        server.address(),
        "OPTIONS",
        "/realtime/ticket",
        &["access-control-request-method: POST", "access-control-request-headers: authorization"],
        "",
    );
    assert_eq!(preflight.await.expect("an answer").status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_as_many_as_it_may_have_sessions() {
    let server = server().await;
    for _ in 0..20 {
        ticket(&server, "alice").await;
    }
    let answer = ask(&server, &["authorization: Bearer alice"]).await;
    let code: Value = answer.json()["code"].clone();
    assert_eq!((answer.status, code, answer.header("retry-after")), (429, json!("too_many_sessions"), "10"));
    ticket(&server, "bob").await;
}

/// The network on the way may lose what it likes: another ticket is to be had, and nothing is missed.
async fn whoever_comes_back_with_another_ticket_goes_on_where_it_stood(kind: Kind) {
    let server = server().await;
    let header = "authorization: Bearer alice";
    let mut client =
        Client::connect_with(kind, server.address(), "a", "now", &[header]).await.expect("let in");
    server.publish("a", 1).await;
    assert_eq!(client.number().await, 1);
    let from = client.cursor().to_owned();
    drop(client);
    server.publish("a", 2).await;
    let target = format!("/realtime/poll?room=a&cursor={from}&ticket={}", ticket(&server, "alice").await);
    let answer = request(server.address(), "GET", &target, &[], "").await.expect("an answer").json();
    assert_eq!(answer["events"][0]["data"], 2);
}

mount!(whoever_comes_back_with_another_ticket_goes_on_where_it_stood);

/// A browser's `EventSource`: whatever is not final to it, it asks for again, with the same address.
#[tokio::test]
async fn an_event_stream_that_repeats_its_ticket_is_refused_for_good_and_goes_on_with_another() {
    let server = server().await;
    let open = async |query: String, last: &str| {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let head = format!(
            "GET /realtime/sse?room=a&{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nLast-Event-ID: {last}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let head = answer(&mut stream).await.expect("an answer");
        (head, stream)
    };
    let until = async |stream: &mut TcpStream, end: &str| {
        let mut heard = Vec::new();
        within(SOON, end, async {
            while !String::from_utf8_lossy(&heard).contains(end) {
                assert!(stream.read_buf(&mut heard).await.expect("a stream") > 0, "{heard:?}");
            }
        })
        .await;
        String::from_utf8_lossy(&heard).into_owned()
    };
    let first = format!("from=now&ticket={}", ticket(&server, "alice").await);
    let (head, mut stream) = open(first.clone(), "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until(&mut stream, "event: tidings.joined").await;
    let id = server.publish("a", 1).await.to_string();
    until(&mut stream, "data: 1\n").await;
    drop(stream);
    server.publish("a", 2).await;
    let (head, _) = open(first, &id).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let (head, mut stream) = open(format!("from={id}&ticket={}", ticket(&server, "alice").await), "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let heard = until(&mut stream, "data: 2\n").await;
    assert!(!heard.contains("data: 1\n") && !heard.contains("tidings.gap"), "{heard}");
}

#[tokio::test]
async fn no_line_of_the_log_has_a_ticket_in_it() {
    let (log, _logging) = Log::begin();
    let server = server().await;
    for (endpoint, good) in GOOD {
        let ticket = ticket(&server, "alice").await;
        for expected in [good, 401] {
            assert_eq!(connect(&server, endpoint, &format!("&ticket={ticket}")).await.0, expected);
        }
        assert!(log.lines(&[&ticket]).is_empty(), "{:?}", log.lines(&[&ticket]));
    }
}
