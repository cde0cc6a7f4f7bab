//! What clients show and send, on every transport, is in no line of the log.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::time::Duration;
use tidings::{
    Denied, Gate, Hub, Identity,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{Log, RawSocket, Server, raw, request, within};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

/// Knows who shows the secret, in whatever way.
struct Shown;

impl Gate for Shown {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let shows = |shown: &[u8]| shown.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        let known = shows(head.uri.to_string().as_bytes())
            || head.headers.values().any(|value| shows(value.as_bytes()));
        Box::pin(async move {
            if known {
                Ok(Identity::user("QxZ7secretname"))
            } else {
                Err(Denied::unauthorized("who are you?"))
            }
        })
    }
}

const SECRET: &str = "QxZ7secretQxZ7";

#[tokio::test]
async fn no_transport_tells_the_log_what_clients_show_and_send() {
    let (log, _logging) = Log::begin();
    let hub = Hub::builder().gate(Shown).build();
    hub.on_call("fails", |_, said: String| async move {
        if said.is_empty() { Ok(()) } else { Err(tidings::CallError::new("no", "not that")) }
    });
    let server = Server::with_hub(hub).await;
    let address = server.address();
    let ways = [
        (format!("?room=r&token={SECRET}"), "accept: */*".to_owned()),
        ("?room=r".to_owned(), format!("authorization: Bearer {SECRET}")),
        ("?room=r".to_owned(), format!("cookie: session={SECRET}")),
        ("?room=r".to_owned(), format!("sec-websocket-protocol: tidings.v1, {SECRET}")),
        // Of these nothing comes.
        (format!("?room={SECRET}%00&token={SECRET}"), "accept: */*".to_owned()),
        (format!("?room=r&from={SECRET}&token={SECRET}"), "accept: */*".to_owned()),
        (format!("?room=r&token={SECRET}"), format!("origin: https://{SECRET}.example")),
    ];
    let publish =
        json!({"type": "publish", "ref": 1, "room": "r", "event": "e", "data": SECRET, "key": SECRET});
    let call = json!({"type": "call", "ref": 2, "method": "fails", "data": SECRET});
    let wrong = format!(r#"{{"type":"{SECRET}","#);
    for (query, header) in &ways {
        let headers = [header.as_str()];
        for body in [&publish.to_string(), &call.to_string(), &wrong] {
            let target = format!("/realtime/send{query}");
            request(address, "POST", &target, &headers, body.clone()).await.expect("an answer");
        }
        request(address, "GET", &format!("/realtime/poll{query}"), &headers, "").await.expect("an answer");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!("GET /realtime/sse{query} HTTP/1.1\r\nhost: h\r\n{header}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("sent");
        raw::answer(&mut stream).await.expect("an answer");
    }
    for (query, header) in &ways[..4] {
        let mut socket = RawSocket::connect(address, &format!("/realtime/ws{query}"), &[header]).await;
        assert_eq!(socket.json().await["type"], "joined");
        for text in [&publish.to_string(), &call.to_string(), &wrong] {
            socket.send(&raw::masked(0x81, text.as_bytes())).await;
            socket.json().await;
        }
        // Against the rules.
        socket.send(&raw::masked(0xf3, SECRET.as_bytes())).await;
        socket.close_code().await;
    }
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut asker, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for (query, header) in &ways[..3] {
        let (name, value) = header.split_once(": ").expect("a header");
        let target = format!("http://{address}/realtime/send{query}");
        let request = http::Request::post(target).header(name, value);
        let request = request.body(Full::new(Bytes::from(publish.to_string()))).expect("a request");
        let answer = within(SOON, "an answer", asker.send_request(request)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a body");
    }
    drop(asker);
    within(SOON, "the end", connection).await.expect("no panic").expect("a good end");
    server.until_sessions(0, SOON).await;
    assert!(!log.lines(&["DEBUG", "tidings", "a session begins"]).is_empty(), "something is told");
    assert_eq!(
        log.lines(&["DEBUG", "tidings", "a session ends"]).len(),
        log.lines(&["a session begins"]).len()
    );
    assert_eq!(log.lines(&["QxZ7secret"]), [""; 0]);
}

#[tokio::test]
async fn spans_are_around_work_and_say_nothing_of_what_is_in_it() {
    let (log, _logging) = Log::begin();
    let hub = Hub::builder().gate(Shown).build();
    hub.on_call(SECRET, |_, said: String| async move {
        tracing::info!("a method of the application's");
        Ok::<_, tidings::CallError>(said)
    });
    let server = Server::with_hub(hub).await;
    let address = server.address();
    let shown = format!("authorization: Bearer {SECRET}");
    let ours = |texts: &[&str]| log.lines(&[&["DEBUG", "tidings"], texts].concat());

    let mut socket = RawSocket::connect(address, &format!("/realtime/ws?token={SECRET}"), &[&shown]).await;
    let session = ours(&["a session begins", "transport=\"ws\""]);
    let [session] = &session[..] else { panic!("{session:?}") };
    let (_, session) = session.rsplit_once("session=").expect("its number");
    let session = format!("session={}", session.split(' ').next().unwrap_or_default());
    for (command, more) in [
        ("join", json!({"room": SECRET})),
        ("publish", json!({"room": SECRET, "event": SECRET, "data": SECRET, "key": SECRET})),
        ("call", json!({"method": SECRET, "data": SECRET})),
        ("auth", json!({"token": SECRET})),
        ("ping", json!({})),
        ("leave", json!({"room": SECRET})),
    ] {
        let mut text = json!({"type": command, "ref": 1});
        text.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        socket.send(&raw::masked(0x81, text.to_string().as_bytes())).await;
        while socket.json().await["ref"] != 1 {}
        let named = format!("command{{command=\"{command}\" {session} transport=\"ws\"}}");
        for moment in [": new", ": close"] {
            assert_eq!(ours(&[&named, moment]).len(), 1, "{command}: {:?}", ours(&["command"]));
        }
    }
    let within_call = log.lines(&["INFO", "a method of the application's", "command=\"call\""]);
    assert_eq!(within_call.len(), 1, "the application's own lines are told apart by it");

    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!("GET /realtime/sse?room={SECRET} HTTP/1.1\r\nhost: h\r\n{shown}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("sent");
    raw::answer(&mut stream).await.expect("an answer");
    let ping = r#"{"type":"ping"}"#;
    for (method, target, status) in [
        ("POST", format!("send?token={SECRET}"), 200),
        ("GET", format!("poll?room={SECRET}"), 200),
        ("GET", format!("poll?room={SECRET}&from={SECRET}"), 400),
        (SECRET, format!("poll?room={SECRET}"), 405),
        ("GET", SECRET.to_owned(), 404),
    ] {
        let answer = request(address, method, &format!("/realtime/{target}"), &[&shown], ping).await;
        assert_eq!(answer.expect("an answer").status, status, "{method} {target}");
    }
    for request in [
        "method=\"GET\" endpoint=\"ws\" status=101",
        "method=\"GET\" endpoint=\"sse\" status=200",
        "method=\"POST\" endpoint=\"send\" status=200",
        "method=\"GET\" endpoint=\"poll\" status=200",
        "method=\"GET\" endpoint=\"poll\" status=400",
        "method=\"other\" endpoint=\"poll\" status=405",
        "method=\"GET\" status=404",
    ] {
        let lines = ours(&[&format!("request{{{request}}}"), ": close"]);
        assert_eq!(lines.len(), 1, "{request}: {:?}", ours(&["request"]));
    }
    let within_request =
        ours(&["request{method=\"POST\" endpoint=\"send\"}:command{command=\"ping\"}", ": close"]);
    assert_eq!(within_request.len(), 1, "{:?}", ours(&["command"]));
    // Both of these are there, and nothing of what has begun goes on.
    assert_eq!(server.sessions(), 2);
    assert_eq!(ours(&[": new"]).len(), ours(&[": close"]).len());
    assert_eq!(log.lines(&["QxZ7secret"]), [""; 0]);
}
