//! A peer that never answers the close frame, and keeps its connection, costs the server five seconds at the most.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tidings::Event;
use tidings_testkit::{RawSocket, Server, raw::masked, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

#[derive(Debug, Clone, Copy)]
enum Cause {
    Drain,
    /// A frame without a mask.
    BrokenProtocol,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Peer {
    Reads,
    /// What is sent to it waits in its socket.
    DoesNotRead,
    /// And nothing fits there any more.
    TakesNothing,
}

/// What a close may take.
const BOUND: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(10);

/// A connection that holds little of what its peer does not read.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    socket.connect(address).await.expect("connected")
}

/// More than all buffers on the way hold, so that a close frame has to wait behind it.
async fn fill_up(server: &Server) {
    let large = Event::json("n", &"x".repeat(256 << 10)).expect("JSON");
    for _ in 0..40 {
        server.hub().publish("r", large.clone()).await.expect("published");
    }
    // Nothing tells from outside that a connection takes no more; by now it has had time to be full.
    sleep(Duration::from_millis(300)).await;
}

/// Resolves when the other end has let go of the connection as well, and not of its writing half alone.
async fn until_reset(stream: &mut TcpStream) {
    while stream.write_all(&[0]).await.is_ok() {
        // What is sent to a connection that is gone is answered by a reset, which takes its time.
        sleep(Duration::from_millis(5)).await;
    }
}

async fn is_dropped_in_time(cause: Cause, kind: Peer) {
    let server = Server::start().await;
    let mut peer = RawSocket::over(narrow(server.address()).await, "/realtime/ws?room=r", &[]).await;
    let mut bystander = RawSocket::connect(server.address(), "/realtime/ws?room=b", &[]).await;
    assert_eq!(bystander.json().await["type"], "joined");
    server.until_sessions(2, SOON).await;
    match kind {
        Peer::Reads => assert_eq!(peer.json().await["type"], "joined"),
        Peer::DoesNotRead => {}
        Peer::TakesNothing => fill_up(&server).await,
    }

    let begin = Instant::now();
    let (code, left) = match cause {
        Cause::Drain => {
            server.hub().drain(Duration::ZERO).await;
            // Who answers is gone at once, and its session is freed once.
            assert_eq!(bystander.close_code().await, 1012);
            bystander.send(&masked(0x88, &1012_u16.to_be_bytes())).await;
            (1012_u16, 0)
        }
        Cause::BrokenProtocol => {
            peer.send(&[0x81, 0x01, b'x']).await;
            (1002, 1)
        }
    };
    if kind == Peer::Reads {
        assert_eq!(peer.close_code().await, code);
        let mut rest = Vec::new();
        within(SOON, "the end of the stream", peer.stream().read_to_end(&mut rest)).await.expect("its end");
        assert!(rest.is_empty(), "nothing follows a close frame");
        assert!(begin.elapsed() <= BOUND, "{cause:?}: the stream ended after {:?}", begin.elapsed());
    }
    server.until_sessions(left, SOON).await;
    let took = begin.elapsed();
    assert!(took <= BOUND, "{cause:?}, {kind:?}: the session was freed after {took:?}");
    assert!(
        took > Duration::from_secs(1),
        "{cause:?}, {kind:?}: it was given no time to answer, only {took:?}"
    );
    within(Duration::from_secs(1), "the connection's end", until_reset(peer.stream())).await;

    let stats = server.hub().stats();
    assert_eq!(stats.members, left, "{stats:?}");
    if let Cause::BrokenProtocol = cause {
        // Whoever did nothing wrong is counted still, and hears on.
        server.publish("b", 7).await;
        assert_eq!(bystander.json().await["data"], 7);
        assert_eq!(server.sessions(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_ignores_the_close_frame_is_dropped_whether_it_reads_or_not() {
    tokio::join!(
        is_dropped_in_time(Cause::Drain, Peer::Reads),
        is_dropped_in_time(Cause::Drain, Peer::DoesNotRead),
        is_dropped_in_time(Cause::BrokenProtocol, Peer::Reads),
        is_dropped_in_time(Cause::BrokenProtocol, Peer::DoesNotRead),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_reaches_a_session_whose_peer_takes_nothing() {
    is_dropped_in_time(Cause::Drain, Peer::TakesNothing).await;
}
