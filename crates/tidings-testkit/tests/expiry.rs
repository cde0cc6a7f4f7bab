//! A session ends with the identity that it belongs to, on every transport.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidings::{
    Denied, Gate, Hub, Identity,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{Client, Heard, Kind, Refused, Server, mount, request, within};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

/// Knows whoever says until when it is known, in milliseconds since 1970.
struct UntilSaid;

impl Gate for UntilSaid {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let until = head.headers.get("until").and_then(|until| until.to_str().ok()?.parse().ok());
        let known = |until| Identity::user("alice").with_expiry(UNIX_EPOCH + Duration::from_millis(until));
        Box::pin(async move { until.map(known).ok_or_else(|| Denied::unauthorized("say until when")) })
    }
}

async fn server() -> Server {
    Server::with_hub(Hub::builder().gate(UntilSaid).build()).await
}

/// The header, and the time that it says.
fn until(left: Duration) -> (String, SystemTime) {
    let until = SystemTime::now() + left;
    let millis = until.duration_since(UNIX_EPOCH).expect("later than 1970").as_millis();
    (format!("until: {millis}"), until)
}

async fn it_ends_within_a_second_and_hears_nothing_more(kind: Kind) {
    let server = server().await;
    let (header, expiry) = until(Duration::from_millis(1_500));
    let headers = [header.as_str()];
    let connect = || Client::connect_with(kind, server.address(), "a", "now", &headers);
    let mut client = connect().await.expect("let in");
    server.publish("a", 1).await;
    assert_eq!(client.number().await, 1);
    let heard = within(SOON, "the close", client.next()).await;
    let late = SystemTime::now().duration_since(expiry).expect("not before it expires");
    println!("{kind:?}: closed {late:?} after it expired");
    assert!(late < Duration::from_secs(1), "{late:?}");
    let Some(Heard::Other(close)) = heard else { panic!("{heard:?} came instead of the close") };
    assert_eq!(close, serde_json::json!({"type": "close", "code": "expired"}));
    server.publish("a", 2).await;
    let heard = within(SOON, "the end", client.next()).await;
    assert!(heard.is_none(), "{heard:?}");
    drop(client);
    let refused = connect().await.expect_err("it has expired");
    assert_eq!((refused.status, refused.code.as_str()), (401, "unauthorized"));
    server.until_sessions(0, SOON).await;
}

async fn what_expires_later_goes_on(kind: Kind) {
    let server = server().await;
    let (soon, _) = until(Duration::from_millis(400));
    let (late, _) = until(Duration::from_secs(86_400 * 30));
    let mut first = Client::connect_with(kind, server.address(), "a", "now", &[&late]).await.expect("let in");
    let mut second =
        Client::connect_with(kind, server.address(), "a", "now", &[&soon]).await.expect("let in");
    assert!(matches!(within(SOON, "the close", second.next()).await, Some(Heard::Other(_))));
    server.publish("a", 3).await;
    assert_eq!(first.number().await, 3);
}

mount!(it_ends_within_a_second_and_hears_nothing_more, what_expires_later_goes_on);

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_is_to_be_shown() {
    let server = server().await;
    let handshake = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let (past, _) = until(Duration::ZERO);
    for headers in [&[][..], &[past.as_str()]] {
        for (method, target) in [
            ("GET", "/realtime/ws?room=a"),
            ("GET", "/realtime/sse?room=a"),
            ("GET", "/realtime/poll?room=a"),
            ("POST", "/realtime/send"),
        ] {
            let own = if target.contains("/ws") { &handshake[..] } else { &[] };
            let headers = [headers, own].concat();
            let answer = request(server.address(), method, target, &headers, r#"{"type":"ping"}"#).await;
            let answer = answer.expect("an answer");
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_is_answered_when_it_expires() {
    let server = server().await;
    let (header, expiry) = until(Duration::from_millis(700));
    let first = request(server.address(), "GET", "/realtime/poll?room=a", &[&header], "").await;
    let cursor = first.expect("an answer").json()["cursor"].as_str().expect("a cursor").to_owned();
    let target = format!("/realtime/poll?room=a&cursor={cursor}&wait=30");
    let answer = within(SOON, "the answer", request(server.address(), "GET", &target, &[&header], "")).await;
    let answer = answer.expect("an answer").json();
    assert!(SystemTime::now().duration_since(expiry).expect("not before") < Duration::from_secs(1));
    // What it has is worth as much as before, to whoever comes back with something better.
    assert_eq!(answer["cursor"], cursor.as_str());
    assert_eq!(answer["events"], serde_json::json!([{"type": "close", "code": "expired"}]));
}

/// Where hyper asks for more, and the hub does not write.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_http_2_connection_ends_and_the_others_go_on() {
    let server = server().await;
    let stream = TcpStream::connect(server.address()).await.expect("connected");
    let both = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut asker, connection) = both.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let (soon, expiry) = until(Duration::from_millis(800));
    let (late, _) = until(Duration::from_secs(60));
    let mut bodies = Vec::new();
    for header in [&soon, &late] {
        let target = format!("http://{}/realtime/sse?room=a", server.address());
        let (name, value) = header.split_once(": ").expect("a header line");
        let request = http::Request::get(target).header(name, value).body(Empty::<Bytes>::new());
        let answer = asker.send_request(request.expect("a request")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        bodies.push(answer.into_body());
    }
    let mut other = bodies.pop().expect("two");
    let body = within(SOON, "the end", bodies.pop().expect("two").collect()).await.expect("a whole body");
    let late = SystemTime::now().duration_since(expiry).expect("not before it expires");
    assert!(late < Duration::from_secs(1), "{late:?}");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8");
    assert!(
        text.ends_with("event: tidings.close\ndata: {\"type\":\"close\",\"code\":\"expired\"}\n\n"),
        "{text}"
    );
    server.publish("a", 1).await;
    within(SOON, "an event", async {
        let mut text = Vec::new();
        while !text.ends_with(b"data: 1\n\n") {
            let frame = other.frame().await.expect("not the end").expect("no error");
            text.extend_from_slice(&frame.into_data().expect("data"));
        }
    })
    .await;
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_that_expire_at_once_all_end() {
    let server = server().await;
    let (header, _) = until(Duration::from_secs(3));
    let mut clients = Vec::new();
    for _ in 0..90 {
        let client = Client::connect_with(Kind::Ws, server.address(), "a", "now", &[&header]).await;
        clients.push(client.expect("let in"));
    }
    for client in &mut clients {
        assert!(matches!(within(SOON, "the close", client.next()).await, Some(Heard::Other(_))));
    }
    drop(clients);
    server.until_sessions(0, SOON).await;
    let refused = Client::connect_with(Kind::Ws, server.address(), "a", "now", &[&header]).await;
    assert!(matches!(refused, Err(Refused { status: 401, .. })), "{refused:?}");
}
