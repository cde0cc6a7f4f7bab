//! WebSockets as streams of an HTTP/2 connection (RFC 8441), through hyper's client.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode, Version};
use http_body_util::Empty;
use hyper::{client::conn::http2, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::time::Duration;
use tidings::{Event, Hub, gate};
use tidings_testkit::{Server, within};
use tidings_ws::{CloseCode, Message, Socket, decode::Role, extension};
use tokio::net::TcpStream;

type Asker = http2::SendRequest<Empty<Bytes>>;
type WebSocket = Socket<TokioIo<Upgraded>>;

const LIMIT: Duration = Duration::from_secs(10);

async fn connect(server: &Server) -> Asker {
    let stream = TcpStream::connect(server.address()).await.expect("connected");
    let (asker, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    asker
}

fn handshake(server: &Server, protocol: &'static str) -> http::request::Builder {
    Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("http://{}/realtime/ws?room=a", server.address()))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
}

async fn ask(asker: &mut Asker, request: http::request::Builder) -> http::Response<hyper::body::Incoming> {
    asker.ready().await.expect("a connection");
    let request = request.body(Empty::new()).expect("a request");
    within(LIMIT, "the answer", asker.send_request(request)).await.expect("an answer")
}

async fn open(asker: &mut Asker, request: http::request::Builder) -> WebSocket {
    let response = ask(asker, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let agreed = extension::accepted(response.headers()).expect("an answer to the offer");
    let socket =
        Socket::new(TokioIo::new(hyper::upgrade::on(response).await.expect("a stream")), Role::Client);
    match agreed {
        Some(agreed) => socket.deflate(agreed),
        None => socket,
    }
}

async fn heard(socket: &mut WebSocket) -> Value {
    loop {
        match within(LIMIT, "a message", socket.next()).await.expect("not the end").expect("no error") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_websockets_share_one_connection() {
    let server = Server::start().await;
    let mut asker = connect(&server).await;
    let mut sockets = Vec::new();
    for n in 0..20 {
        let mut request = handshake(&server, "websocket");
        if n % 2 == 0 {
            request = request.header("sec-websocket-extensions", extension::OFFER);
        }
        let mut socket = open(&mut asker, request).await;
        assert_eq!(heard(&mut socket).await["type"], "joined");
        sockets.push(socket);
    }
    assert_eq!(server.sessions(), 20);
    let data = json!("long enough to be compressed ".repeat(3_000));
    for n in 0..10 {
        server
            .hub()
            .publish("a", Event::json("n", &json!([n, data])).expect("JSON"))
            .await
            .expect("published");
    }
    // All at once: what one leaves unread takes of the window that they share.
    let reading = sockets.iter_mut().map(async |socket| {
        for n in 0..10 {
            assert_eq!(heard(socket).await["data"], json!([n, data]));
        }
    });
    futures_util::future::join_all(reading).await;
    // One leaves by a close, one without a word; the others do not notice.
    let mut leaving = sockets.pop().expect("sockets");
    assert!(within(LIMIT, "the close", leaving.close(CloseCode::Normal, "")).await.clean);
    drop(sockets.pop());
    server.until_sessions(18, LIMIT).await;
    let command = json!({"type": "publish", "room": "a", "event": "n", "data": 1, "ref": 7}).to_string();
    sockets[0].send(Message::text(command)).await.expect("sent");
    for socket in &mut sockets {
        let mut said = heard(socket).await;
        while said["data"] != json!(1) {
            said = heard(socket).await;
        }
    }
    drop(asker);
    drop(sockets);
    server.until_sessions(0, LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_websocket_is_refused_over_http2_too() {
    let hub = Hub::builder().gate(gate::open()).build();
    let server = Server::with_hub(hub).await;
    let mut asker = connect(&server).await;
    let status = async |asker: &mut Asker, request| ask(asker, request).await.status();
    assert_eq!(status(&mut asker, handshake(&server, "connect-udp")).await, StatusCode::NOT_IMPLEMENTED);
    let elsewhere =
        handshake(&server, "websocket").uri(format!("http://{}/realtime/sse?room=a", server.address()));
    assert_eq!(status(&mut asker, elsewhere).await, StatusCode::METHOD_NOT_ALLOWED);
    let foreign = handshake(&server, "websocket").header("origin", "https://evil.example");
    assert_eq!(status(&mut asker, foreign).await, StatusCode::FORBIDDEN);
    let mut old = handshake(&server, "websocket");
    old.headers_mut().expect("headers").insert("sec-websocket-version", http::HeaderValue::from_static("12"));
    let refused = ask(&mut asker, old).await;
    assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(refused.headers()["sec-websocket-version"], "13");
    let plain = Request::builder().uri(format!("http://{}/realtime/ws?room=a", server.address()));
    assert_eq!(status(&mut asker, plain).await, StatusCode::BAD_REQUEST);
    let socket = open(&mut asker, handshake(&server, "websocket")).await;
    drop(socket);
    server.until_sessions(0, LIMIT).await;
}
