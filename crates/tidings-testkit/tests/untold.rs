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
