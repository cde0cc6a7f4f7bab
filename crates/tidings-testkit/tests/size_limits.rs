//! A message over the limit is refused with a code that says so, whatever way it comes; one of exactly the limit is
//! taken, and nobody else notices.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tidings::{From, Subscription};
use tidings_testkit::{
    RawSocket, Server,
    raw::{answer, field, fragments, masked},
    within,
};
use tidings_ws::{CloseCode, Message, SocketError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The limit, which is the default.
const M: usize = 1 << 20;
const SOON: Duration = Duration::from_secs(10);

/// A command of so many bytes.
fn publish(reference: u64, len: usize) -> String {
    let head = format!(r#"{{"type":"publish","ref":{reference},"room":"a","event":"e","data":""#);
    format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
}

/// What was published, as the lengths of the payloads.
async fn heard(inside: &mut Subscription) -> usize {
    let received = within(SOON, "an event", inside.next()).await.expect("the hub is alive");
    received.into_message().expect("no gap").event().data().len()
}

/// How long the payload of such a command is, as JSON.
fn payload(command: &str) -> usize {
    serde_json::from_str::<Value>(command).expect("JSON")["data"].to_string().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_message_over_the_limit_closes_with_1009_and_one_at_the_limit_is_published() {
    let server = Server::start().await;
    let mut inside = server.hub().subscribe("a", From::Now).await.expect("let in");
    let mut other = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    for (at, step) in [usize::MAX, 64 << 10, 1_000].into_iter().enumerate() {
        let mut peer = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
        let exact = publish(1, M);
        assert_eq!(exact.len(), M);
        peer.send(&fragments(0x81, exact.as_bytes(), step)).await;
        assert_eq!(heard(&mut inside).await, payload(&exact));
        assert_eq!(peer.json().await["type"], "reply");

        // What was asked for and answered before stays done; what is too large is not.
        let small = publish(2, 100 + at);
        peer.send(&masked(0x81, small.as_bytes())).await;
        assert_eq!(peer.json().await["ref"], 2);
        peer.send(&fragments(0x81, publish(3, M + 1).as_bytes(), step)).await;
        assert_eq!(peer.close_code().await, 1009);
        assert_eq!(heard(&mut inside).await, payload(&small));

        // Others go on, and nothing of the large one comes later.
        let next = publish(4, 200 + at);
        other.send(&masked(0x81, next.as_bytes())).await;
        assert_eq!(other.json().await["ref"], 4);
        assert_eq!(heard(&mut inside).await, payload(&next));
    }
}

/// Sends a request that is whole before its answer is read, as a simple client does, and gives status and body.
async fn post(server: &Server, head: &str, body: &[u8]) -> (String, Value) {
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    let request = format!("POST /realtime/send HTTP/1.1\r\nHost: tidings\r\n{head}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let head = answer(&mut stream).await.expect("an answer");
    let length = field(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or_else(|| panic!("no length in {head}"))];
    stream.read_exact(&mut body).await.expect("the body");
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn chunked(body: &str, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.as_bytes().chunks(step) {
        out.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        out.extend([piece, b"\r\n"].concat());
    }
    out.extend(b"0\r\n\r\n");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_published() {
    let server = Server::start().await;
    let mut inside = server.hub().subscribe("a", From::Now).await.expect("let in");
    let mut queued = 0;
    for len in [M, M + 1, M, M + 1, 10 * M] {
        let command = publish(1, len);
        let with_length = format!("Content-Length: {len}");
        for (head, body) in [
            (with_length.as_str(), command.clone().into_bytes()),
            ("Transfer-Encoding: chunked", chunked(&command, M / 3)),
            ("Transfer-Encoding: chunked", chunked(&command, 1_000)),
        ] {
            let (status, answer) = post(&server, head, &body).await;
            if len <= M {
                assert_eq!((&*status, &answer["type"]), ("200", &json!("reply")), "{head}: {answer}");
                assert_eq!(heard(&mut inside).await, payload(&command));
            } else {
                assert_eq!((&*status, &answer["type"]), ("413", &json!("error")), "{head}: {answer}");
                assert_eq!(answer["code"], "too_large", "{head}: {answer}");
            }
            // What waited behind it is published.
            queued += 1;
            let next = publish(2, 100 + queued);
            let (status, _) =
                post(&server, &format!("Content-Length: {}", next.len()), next.as_bytes()).await;
            assert_eq!(status, "200");
            assert_eq!(heard(&mut inside).await, payload(&next));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked_for_one_that_is_refused() {
    let server = Server::start().await;
    for (field, length, status) in
        [("X: y", M + 1, "413 "), ("Content-Encoding: gzip", 100, "415 "), ("X: y", M, "100 ")]
    {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let request = format!(
            "POST /realtime/send HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{field}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head =
            within(Duration::from_millis(500), "an answer", answer(&mut stream)).await.expect("an answer");
        assert!(head["HTTP/1.1 ".len()..].starts_with(status), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_is_told_and_sends_nothing_again() {
    let server = Server::start().await;
    let mut inside = server.hub().subscribe("a", From::Now).await.expect("let in");
    let stream = TcpStream::connect(server.address()).await.expect("connected");
    let mut socket = tidings_ws::connect(stream, "tidings", "/realtime/ws").await.expect("a WebSocket");
    let exact = publish(1, M);
    socket.send(Message::text(&*exact)).await.expect("sent");
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));
    assert_eq!(heard(&mut inside).await, payload(&exact));

    socket.send(Message::text(publish(2, M + 1))).await.expect("sent");
    let close = within(SOON, "the close frame", socket.next()).await;
    assert!(matches!(&close, Some(Ok(Message::Close(frame))) if frame.code == CloseCode::Size), "{close:?}");
    assert!(within(SOON, "the end", socket.next()).await.is_none());
    assert!(matches!(socket.send(Message::text("more")).await, Err(SocketError::Closed)));
    let outcome = socket.outcome().expect("it has ended");
    assert_eq!(outcome.code, CloseCode::Size);
    // The server's sessions are the one inside and nobody who came back.
    server.until_sessions(1, SOON).await;
    server.publish("a", 7).await;
    assert_eq!(heard(&mut inside).await, 1, "nothing came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_a_message_that_is_too_large_is_published() {
    let server = Server::start().await;
    let mut inside = server.hub().subscribe("a", From::Now).await.expect("let in");
    let mut peer = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    // Both in one write, as a client does whose queue goes out at once.
    let mut queue = Vec::new();
    for reference in 0..5 {
        queue.extend(masked(0x81, publish(reference, 100 + reference as usize).as_bytes()));
    }
    queue.extend(masked(0x81, publish(5, M + 1).as_bytes()));
    peer.send(&queue).await;
    for reference in 0..5 {
        let expected = payload(&publish(reference, 100 + reference as usize));
        assert_eq!(heard(&mut inside).await, expected);
    }
    assert_eq!(peer.close_code().await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_a_very_large_message_gets_to_see_why_it_is_refused() {
    let server = Server::start().await;
    let mut peer = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    // All of it before anything is read: a browser that cannot send on reports 1006, whatever came.
    peer.send(&masked(0x81, publish(1, 10 * M).as_bytes())).await;
    assert_eq!(peer.close_code().await, 1009);
}
