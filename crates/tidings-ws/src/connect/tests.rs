use super::*;
use crate::{
    Message,
    decode::{Decoder, Incoming, Limits},
    frame::put_text,
    upgrade,
};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Bytes, service::service_fn};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::io::{DuplexStream, duplex};

/// Reads a request and gives its key.
async fn asked(wire: &mut DuplexStream) -> (String, String) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(wire.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap().to_owned();
    (request, key)
}

fn accepted(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// What becomes of an answer made from our key.
async fn answered(answer: impl FnOnce(&str) -> String) -> Result<(), ConnectError> {
    let (stream, mut wire) = duplex(1 << 16);
    let server = async move {
        let (_, key) = asked(&mut wire).await;
        wire.write_all(answer(&key).as_bytes()).await.unwrap();
    };
    tokio::join!(connect(stream, "example.org", "/"), server).0.map(drop)
}

#[tokio::test]
async fn a_frame_behind_the_answer_is_not_lost_wherever_the_bytes_are_cut() {
    let length = accepted(&generate_key()).len() + 7;
    for cut in 1..=length {
        let (stream, mut wire) = duplex(1 << 16);
        let server = async move {
            let (request, key) = asked(&mut wire).await;
            assert!(
                request.starts_with("GET /chat?room=1 HTTP/1.1\r\nHost: example.org:81\r\n"),
                "{request}"
            );
            let mut answer = BytesMut::from(accepted(&key).as_bytes());
            put_text("hello", None, &mut answer);
            assert_eq!(answer.len(), length);
            let (early, late) = answer.split_at(cut);
            wire.write_all(early).await.unwrap();
            tokio::task::yield_now().await;
            wire.write_all(late).await.unwrap();
            wire
        };
        let (socket, _wire) = tokio::join!(connect(stream, "example.org:81", "/chat?room=1"), server);
        assert_eq!(socket.unwrap().next().await.unwrap().unwrap(), Message::text("hello"), "cut at {cut}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_agreement_is_refused() {
    let without = |field: &'static str| {
        move |key: &str| {
            let lines = accepted(key);
            let kept: Vec<_> = lines.split("\r\n").filter(|line| !line.starts_with(field)).collect();
            kept.join("\r\n")
        }
    };
    let with = |field: &'static str| move |key: &str| accepted(key).replacen("\r\n", field, 1);
    let refused = answered(|_| "HTTP/1.1 403 Forbidden\r\n\r\n".to_owned()).await;
    assert!(matches!(refused, Err(ConnectError::Status(StatusCode::FORBIDDEN))), "{refused:?}");
    assert!(matches!(answered(without("upgrade")).await, Err(ConnectError::Upgrade)));
    assert!(matches!(answered(without("Connection")).await, Err(ConnectError::Upgrade)));
    assert!(matches!(answered(without("Sec-WebSocket-Accept")).await, Err(ConnectError::Accept)));
    let foreign = answered(|_| accepted("dGhlIHNhbXBsZSBub25jZQ==")).await;
    assert!(matches!(foreign, Err(ConnectError::Accept)));
    for extension in ["x-webkit-deflate-frame", "permessage-deflate", "permessage-deflate; bogus"] {
        let line = format!("\r\nSec-WebSocket-Extensions: {extension}\r\n");
        let extended = answered(|key: &str| accepted(key).replacen("\r\n", &line, 1)).await;
        assert!(matches!(extended, Err(ConnectError::NotOffered)), "{extension}");
    }
    assert!(matches!(
        answered(with("\r\nSec-WebSocket-Protocol: x\r\n")).await,
        Err(ConnectError::NotOffered)
    ));
    let old = answered(|key| accepted(key).replace("HTTP/1.1", "HTTP/1.0")).await;
    assert!(matches!(old, Err(ConnectError::Http)));
    assert!(matches!(answered(|_| "SSH-2.0-OpenSSH\r\n".to_owned()).await, Err(ConnectError::Http)));
    let endless = answered(|_| format!("HTTP/1.1 101 x\r\nX: {}", "y".repeat(20 << 10))).await;
    assert!(matches!(endless, Err(ConnectError::Http)));
    assert!(matches!(answered(|_| "HTTP/1.1 101".to_owned()).await, Err(ConnectError::Io(_))));
}

#[tokio::test]
async fn an_address_cannot_smuggle_a_line() {
    for (host, path) in [("a\r\nb", "/"), ("a b", "/"), ("", "/"), ("a", "/\r\nX: y"), ("a", "/ b")] {
        let (stream, _wire) = duplex(64);
        assert!(
            matches!(connect(stream, host, path).await, Err(ConnectError::Address(_))),
            "{host:?} {path:?}"
        );
    }
}

#[tokio::test]
async fn a_client_and_a_server_over_hyper_meet() {
    let (client, server) = duplex(1 << 10);
    let service = service_fn(async |mut request: Request<hyper::body::Incoming>| {
        let answer: Result<_, Infallible> = Ok(match upgrade(&mut request) {
            Ok((response, socket)) => {
                tokio::spawn(async move {
                    let mut socket = socket.await.unwrap();
                    socket.send(Message::text("welcome")).await.unwrap();
                    while let Some(message) = socket.next().await {
                        message.unwrap();
                    }
                });
                response.map(|()| Empty::<Bytes>::new())
            }
            Err(error) => {
                let mut response = Response::new(Empty::new());
                *response.status_mut() = error.status();
                response
            }
        });
        answer
    });
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    tokio::spawn(server.with_upgrades());
    let mut socket = connect(client, "example.org", "/").await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("welcome"));
    assert!(socket.close(crate::CloseCode::Normal, "").await.clean);
}

#[tokio::test]
async fn extensions_and_subprotocols_are_those_that_were_offered() {
    let ask = async |connect: Connect, fields: &'static str| {
        let (stream, mut wire) = duplex(1 << 16);
        let server = async move {
            let (request, key) = asked(&mut wire).await;
            wire.write_all(accepted(&key).replacen("\r\n", fields, 1).as_bytes()).await.unwrap();
            request
        };
        tokio::join!(connect.over(stream), server)
    };
    let offer = || Connect::new("example.org", "/").unwrap();
    let (_, request) = ask(offer(), "\r\n").await;
    assert!(request.contains(&format!("\r\nSec-WebSocket-Extensions: {}\r\n", OFFER.to_str().unwrap())));
    assert!(!request.contains("Protocol"), "{request}");
    let unasked = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let (socket, request) = ask(offer().compression(false), unasked).await;
    assert!(!request.contains("Extensions"), "{request}");
    assert!(matches!(socket, Err(ConnectError::NotOffered)));

    let named = || offer().protocols(["a", "b"]).header(http::header::ORIGIN, "https://x".parse().unwrap());
    let (socket, request) = ask(named(), "\r\nSec-WebSocket-Protocol: b\r\n").await;
    assert!(request.contains("\r\nSec-WebSocket-Protocol: a, b\r\n"), "{request}");
    assert!(request.ends_with("\r\norigin: https://x\r\n\r\n"), "{request}");
    assert_eq!(socket.unwrap().protocol(), Some("b"));
    assert_eq!(ask(named(), "\r\n").await.0.unwrap().protocol(), None);
    for chosen in [
        "\r\nSec-WebSocket-Protocol: c\r\n",
        "\r\nSec-WebSocket-Protocol: a, b\r\n",
        "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
    ] {
        assert!(matches!(ask(named(), chosen).await.0, Err(ConnectError::NotOffered)), "{chosen}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let (stream, _wire) = duplex(1 << 10);
    assert!(matches!(connect(stream, "example.org", "/").await, Err(ConnectError::TimedOut)));
}

#[tokio::test]
async fn what_is_sent_is_compressed_as_agreed() {
    let text = "the same again and again, ".repeat(40);
    let extension = "permessage-deflate; server_no_context_takeover";
    for (agreed, compressed) in [
        (extension.to_owned(), true),
        (format!("{extension}; client_max_window_bits=9"), true),
        (format!("{extension}; client_max_window_bits=8"), false),
        (String::new(), false),
    ] {
        let fields = format!("\r\nSec-WebSocket-Extensions: {agreed}\r\n");
        let (stream, mut wire) = duplex(1 << 16);
        let server = async move {
            let (_, key) = asked(&mut wire).await;
            wire.write_all(accepted(&key).replacen("\r\n", &fields, 1).as_bytes()).await.unwrap();
            wire
        };
        let (socket, mut wire) = tokio::join!(connect(stream, "example.org", "/"), server);
        let mut socket = socket.unwrap();
        socket.send(Message::text(text.as_str())).await.unwrap();
        drop(socket);
        let mut sent = Vec::new();
        wire.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent[0], if compressed { 0xc1 } else { 0x81 }, "{agreed}");
        assert_eq!(sent.len() < text.len() / 4, compressed, "{agreed}");
        let mut decoder = Decoder::new(Role::Server, Limits::new(1 << 20, 1 << 20)).deflate(compressed);
        let incoming = decoder.decode(&mut &mut sent[..]).unwrap();
        assert_eq!(incoming, Some(Incoming::Text(text.as_str().into())));
    }
}

#[tokio::test]
async fn an_address_of_ipv6_keeps_its_brackets_and_a_user_is_refused() {
    for host in ["user:pw@example.org", "user@example.org", "@example.org:80"] {
        assert!(matches!(Connect::new(host, "/"), Err(ConnectError::UserInfo)), "{host}");
    }
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let host = format!("[::1]:{}", listener.local_addr().unwrap().port());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains(&format!("\r\nHost: {host}\r\n")), "{request}");
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        stream.write_all(accepted(key).as_bytes()).await.unwrap();
    };
    let connect = Connect::new(&host, "/").unwrap();
    let (socket, ()) = tokio::join!(connect.tcp(), server);
    assert!(socket.unwrap().io().peer_addr().unwrap().is_ipv6());
}
