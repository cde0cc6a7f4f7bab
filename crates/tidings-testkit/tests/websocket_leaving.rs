//! What a WebSocket asked for is done, however long it takes and however soon the client leaves.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use tidings::{From, Hub, Limits, gate};
use tidings_testkit::{Server, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

const SOON: Duration = Duration::from_secs(10);

async fn open(address: SocketAddr) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    tokio_tungstenite::connect_async(format!("ws://{address}/realtime/ws")).await.expect("let in").0
}

fn publish(number: u64) -> Message {
    Message::text(json!({"type": "publish", "room": "r", "event": "n", "data": number}).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_just_before_the_close_is_published() {
    let server = Server::start().await;
    let mut inside = server.hub().subscribe("r", From::Now).await.expect("let in");
    for number in 0..20 {
        let mut socket = open(server.address()).await;
        // Both frames in one write, as a page does that says goodbye.
        socket.feed(publish(number)).await.expect("open");
        socket.close(None).await.expect("open");
        let received = within(SOON, "the event", inside.next()).await.expect("the hub is alive");
        let message = received.into_message().expect("no gap");
        assert_eq!(message.event().parse::<u64>().expect("a number"), number);
        let end = within(SOON, "the close", async {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() {
                    return true;
                }
            }
            false
        })
        .await;
        assert!(end, "the close frame is answered");
    }
    // A client that only ends its half of the stream leaves as well.
    let mut socket = open(server.address()).await;
    socket.send(publish(20)).await.expect("open");
    socket.get_mut().shutdown().await.expect("open");
    let received = within(SOON, "the event", inside.next()).await.expect("the hub is alive");
    assert!(received.into_message().is_some());
    server.until_sessions(1, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_longer_than_the_idle_time_is_answered() {
    let mut limits = Limits::default();
    (limits.heartbeat, limits.idle) = (Duration::from_millis(100), Duration::from_millis(300));
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    hub.on_call("slow", |_, (): ()| async {
        sleep(Duration::from_secs(1)).await;
        Ok("done")
    });
    let server = Server::with_hub(hub).await;
    let mut socket = open(server.address()).await;
    socket.send(Message::text(r#"{"type":"call","ref":1,"method":"slow"}"#)).await.expect("open");
    let answer = within(SOON, "the answer", async {
        loop {
            // Reading answers the pings too.
            let message = socket.next().await.expect("open").expect("open");
            if message.is_text() {
                return message.to_string();
            }
        }
    })
    .await;
    assert_eq!(answer, r#"{"type":"reply","ref":1,"data":"done"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_nothing_is_dropped_although_it_talks() {
    let mut limits = Limits::default();
    (limits.heartbeat, limits.idle) = (Duration::from_millis(200), Duration::from_millis(600));
    let server = Server::with_hub(Hub::builder().gate(gate::open()).limits(limits).build()).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    // What the kernel takes in the client's place is taken.
    socket.set_recv_buffer_size(16 << 10).expect("a small buffer");
    let mut stream = socket.connect(server.address()).await.expect("connected");
    let request = "GET /realtime/ws?room=r HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut one = [0; 1];
    stream.read_exact(&mut one).await.expect("the answer's first byte");
    server.until_sessions(1, SOON).await;
    let large = tidings::Event::json("n", &"x".repeat(256 << 10)).expect("JSON");
    for _ in 0..60 {
        server.hub().publish("r", large.clone()).await.expect("published");
    }
    let (_read, mut write) = stream.into_split();
    let pong = [0x8a, 0x80, 1, 2, 3, 4];
    within(SOON, "the server to give up", async {
        while server.sessions() > 0 {
            // It may be gone already; then the session is about to be.
            let _ = write.write_all(&pong).await;
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
