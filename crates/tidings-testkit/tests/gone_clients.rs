//! A client that goes away is gone from the hub at once, although nothing happens in its room.

use std::time::Duration;
use tidings_testkit::{Client, Kind, Server, mount, request, within};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const COUNT: usize = 50;

async fn target(kind: Kind, server: &Server) -> String {
    let head = match kind {
        Kind::Ws => {
            return "GET /realtime/ws?room=quiet HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_owned();
        }
        Kind::Sse => "sse?room=quiet".to_owned(),
        Kind::Poll => {
            let first = request(server.address(), "GET", "/realtime/poll?room=quiet", &[], "").await;
            let cursor = first.expect("an answer").json()["cursor"].as_str().expect("a cursor").to_owned();
            format!("poll?room=quiet&cursor={cursor}&wait=60")
        }
    };
    format!("GET /realtime/{head} HTTP/1.1\r\nHost: a\r\n\r\n")
}

async fn connect(kind: Kind, server: &Server) -> Vec<TcpStream> {
    let target = target(kind, server).await;
    let mut streams = Vec::new();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        stream.write_all(target.as_bytes()).await.expect("sent");
        streams.push(stream);
    }
    server.until_sessions(COUNT, Duration::from_secs(5)).await;
    until_members(server, COUNT).await;
    streams
}

/// A session is counted before it enters its room, and no more before it has left it.
async fn until_members(server: &Server, count: usize) {
    within(Duration::from_secs(1), "the number of members", async {
        while server.hub().stats().members != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn after_a_fin_the_session_is_gone_within_a_second(kind: Kind) {
    let server = Server::start().await;
    let streams = connect(kind, &server).await;
    drop(streams);
    server.until_sessions(0, Duration::from_secs(1)).await;
    until_members(&server, 0).await;
}

async fn after_a_reset_the_session_is_gone_within_a_second(kind: Kind) {
    let server = Server::start().await;
    for stream in connect(kind, &server).await {
        stream.set_zero_linger().expect("linger is set");
    }
    server.until_sessions(0, Duration::from_secs(1)).await;
    until_members(&server, 0).await;
}

async fn a_client_that_leaves_and_comes_back_is_one_session(kind: Kind) {
    let server = Server::start().await;
    for round in 1..=20 {
        let mut client = Client::connect(kind, server.address(), "r", "start").await.expect("let in");
        server.publish("r", round).await;
        while client.number().await != round {}
    }
    server.until_sessions(0, Duration::from_secs(1)).await;
}

mount!(
    after_a_fin_the_session_is_gone_within_a_second,
    after_a_reset_the_session_is_gone_within_a_second,
    a_client_that_leaves_and_comes_back_is_one_session,
);
