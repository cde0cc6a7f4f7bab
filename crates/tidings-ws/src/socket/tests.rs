use super::*;
use crate::{
    close::CLOSE_TIMEOUT,
    frame::{put_close, put_header, put_ping, put_text},
};
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, timeout},
};
use tungstenite::protocol::frame::coding::{Data, OpCode};

mod conversation;
mod pipe;

fn pair(buffer: usize) -> (Socket<DuplexStream>, Socket<DuplexStream>) {
    let (server, client) = duplex(buffer);
    (Socket::new(server, Role::Server), Socket::new(client, Role::Client))
}

/// A server, and the wire of a client that it is not to trust.
fn served(buffer: usize) -> (Socket<DuplexStream>, DuplexStream) {
    let (server, wire) = duplex(buffer);
    (Socket::new(server, Role::Server), wire)
}

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn frames(put: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    put(&mut out);
    out
}

async fn echo(mut socket: Socket<DuplexStream>) -> Option<Outcome> {
    while let Some(message) = socket.next().await {
        let message = message.unwrap();
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            socket.send(message).await.unwrap();
        }
    }
    socket.outcome()
}

async fn next(socket: &mut Socket<DuplexStream>) -> Message {
    socket.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn messages_of_all_sizes_come_back_through_any_pipe() {
    for buffer in [1 << 10, 200 << 10] {
        let (server, mut client) = pair(buffer);
        let server = tokio::spawn(echo(server));
        for size in [0, 1, 125, 126, 4095, 4096, 65535, 65536, 300_000] {
            let text = Message::text("é".repeat(size / 2));
            client.send(text.clone()).await.unwrap();
            assert_eq!(next(&mut client).await, text);
            let binary = Message::binary(vec![7; size]);
            client.send(binary.clone()).await.unwrap();
            assert_eq!(next(&mut client).await, binary);
            assert!(client.rest.capacity() == 0 && client.out.is_empty(), "nothing is held while idle");
        }
        assert!(client.close(CloseCode::Normal, "done").await.clean);
        assert!(server.await.unwrap().unwrap().clean);
    }
}

#[tokio::test]
async fn many_messages_of_one_read_come_one_by_one() {
    let (mut server, mut client) = pair(1 << 20);
    let messages: Vec<_> = (0..500).map(|n| Message::text(n.to_string())).collect();
    client.send_all(&mut stream::iter(messages.clone()).map(Ok)).await.unwrap();
    drop(client);
    for message in messages {
        assert_eq!(next(&mut server).await, message);
    }
    assert!(matches!(server.next().await, Some(Err(SocketError::Aborted))));
    assert!(server.next().await.is_none());
}

#[tokio::test]
async fn answers_to_messages_of_one_read_go_out_together() {
    let (mut server, mut wire) = served(1 << 10);
    let sent = frames(|out| (0..10).for_each(|n| put_text(&n.to_string(), KEY, out)));
    wire.write_all(&sent).await.unwrap();
    for n in 0..10 {
        let message = next(&mut server).await;
        assert_eq!(message, Message::text(n.to_string()));
        server.feed(message).await.unwrap();
        assert_eq!(server.out.len(), 3 * (n + 1), "nothing is written before the flush");
        assert_eq!(server.has_more(), n < 9);
    }
    // Whoever reads on without a flush has it written too.
    assert!(server.next().now_or_never().is_none());
    let mut answers = [0; 30];
    wire.read_exact(&mut answers).await.unwrap();
    assert!(server.out.is_empty());
    assert_eq!(&answers[27..], b"\x81\x019");
}

#[tokio::test]
async fn fragments_are_joined_and_a_ping_between_them_is_answered() {
    let (mut server, mut wire) = served(1 << 10);
    let sent = frames(|out| {
        for (opcode, fin, byte) in [(Data::Text, false, b'a'), (Data::Continue, true, b'b')] {
            put_header(OpCode::Data(opcode), fin, 1, Some([0; 4]), out);
            out.extend_from_slice(&[byte]);
            if !fin {
                put_ping(b"between", KEY, out);
            }
        }
    });
    wire.write_all(&sent).await.unwrap();
    assert_eq!(next(&mut server).await, Message::Ping("between".into()));
    let mut pong = [0; 9];
    wire.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, *b"\x8a\x07between");
    assert_eq!(next(&mut server).await, Message::text("ab"));
}

#[tokio::test]
async fn of_many_pings_to_a_peer_that_does_not_read_the_latest_is_answered() {
    let (mut server, mut wire) = served(8);
    server.put(Message::binary(vec![0; HIGH]));
    for n in 0..10 {
        let ping = frames(|out| put_ping(format!("{n}").as_bytes(), KEY, out));
        wire.write_all(&ping).await.unwrap();
        assert_eq!(next(&mut server).await, Message::Ping(n.to_string().into()));
    }
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        wire.read_to_end(&mut all).await.unwrap();
        all
    });
    server.flush().await.unwrap();
    drop(server);
    let all = reader.await.unwrap();
    assert!(all.len() < HIGH + 40, "old answers are dropped: {}", all.len());
    assert!(all.ends_with(b"\x8a\x019"));
}

#[tokio::test(start_paused = true)]
async fn the_side_that_closes_gets_what_is_in_flight_and_both_end_clean() {
    for server_closes in [true, false] {
        let (server, client) = pair(1 << 10);
        let (mut closer, mut other) = if server_closes { (server, client) } else { (client, server) };
        other.send(Message::text("in flight")).await.unwrap();
        SinkExt::close(&mut closer).await.unwrap();
        assert!(matches!(closer.send(Message::text("late")).await, Err(SocketError::Closed)));
        assert_eq!(next(&mut closer).await, Message::text("in flight"));
        let other = tokio::spawn(async move {
            let close = Message::Close(CloseFrame::new(CloseCode::Normal, ""));
            assert_eq!(next(&mut other).await, close);
            assert!(matches!(other.send(Message::text("late")).await, Err(SocketError::Closed)));
            assert!(other.next().await.is_none());
            other.outcome().unwrap()
        });
        assert_eq!(next(&mut closer).await, Message::Close(CloseFrame::new(CloseCode::Normal, "")));
        assert!(closer.next().await.is_none());
        assert!(closer.outcome().unwrap().clean && other.await.unwrap().clean);
    }
}

#[tokio::test]
async fn a_peer_that_closes_and_ends_its_half_at_once_still_gets_what_is_under_way() {
    let (mut server, mut wire) = served(16);
    server.put(Message::binary(vec![7; 1_000]));
    wire.write_all(&frames(|out| put_close(CloseCode::Normal, "", KEY, out))).await.unwrap();
    wire.shutdown().await.unwrap();
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        wire.read_to_end(&mut all).await.unwrap();
        all
    });
    assert!(matches!(next(&mut server).await, Message::Close(_)));
    assert!(server.next().await.is_none());
    assert!(server.outcome().unwrap().clean);
    let all = reader.await.unwrap();
    assert_eq!(all.len(), 4 + 1_000 + 4);
    assert!(all.ends_with(b"\x88\x02\x03\xe8"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_or_does_not_read_costs_five_seconds() {
    for waiting in [0, 1 << 20] {
        let (mut server, _wire) = served(16);
        server.put(Message::binary(vec![0; waiting]));
        let begun = Instant::now();
        let outcome = server.close(CloseCode::Away, "bye").await;
        assert_eq!((outcome.clean, outcome.code), (false, CloseCode::Abnormal));
        assert!(begun.elapsed() >= CLOSE_TIMEOUT && begun.elapsed() < CLOSE_TIMEOUT * 2);
        assert!(server.next().await.is_none(), "who closes wants the end, however it comes");
    }
    let (mut server, _wire) = served(16);
    server.feed(Message::binary(vec![0; 1 << 10])).await.unwrap();
    let closed = SinkExt::close(&mut server).await;
    assert!(
        matches!(closed, Err(SocketError::Closed)),
        "what was not written is not passed over: {closed:?}"
    );
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_told_before_the_stream_ends() {
    let (mut server, mut wire) = served(1 << 10);
    let sent = frames(|out| {
        put_text("good", KEY, out);
        put_text("not masked", None, out);
        put_text("never seen", KEY, out);
    });
    wire.write_all(&sent).await.unwrap();
    assert_eq!(next(&mut server).await, Message::text("good"));
    let server = tokio::spawn(async move {
        let error = server.next().await.unwrap().unwrap_err();
        assert!(matches!(error, SocketError::Protocol(ProtocolError::Unmasked)), "{error}");
        assert!(server.next().await.is_none());
    });
    let mut told = Vec::new();
    wire.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, frames(|out| put_close(CloseCode::Protocol, "frame not masked", None, out)));
    drop(wire);
    server.await.unwrap();
}

#[tokio::test]
async fn limits_are_those_set() {
    let (server, mut client) = pair(1 << 10);
    let mut server = server.limits(Limits::new(10, 10));
    client.send(Message::text("0123456789")).await.unwrap();
    assert_eq!(next(&mut server).await, Message::text("0123456789"));
    client.send(Message::text("0123456789a")).await.unwrap();
    let (end, _) = tokio::join!(server.next(), async {
        assert!(matches!(next(&mut client).await, Message::Close(frame) if frame.code == CloseCode::Size));
        assert!(client.next().await.is_none());
    });
    assert!(matches!(
        end,
        Some(Err(SocketError::Protocol(
            ProtocolError::MessageTooLarge { limit: 10 } | ProtocolError::FrameTooLarge { limit: 10 }
        )))
    ));
}

#[tokio::test]
async fn futures_dropped_at_any_byte_lose_nothing() {
    let (mut server, mut wire) = served(1 << 10);
    let sent = frames(|out| {
        put_text("first", KEY, out);
        put_ping(b"p", KEY, out);
        put_text("second", KEY, out);
    });
    let mut got = Vec::new();
    for byte in sent {
        wire.write_all(&[byte]).await.unwrap();
        // Polled once and dropped.
        while let Some(message) = server.next().now_or_never() {
            got.push(message.unwrap().unwrap());
        }
    }
    assert_eq!(got, [Message::text("first"), Message::Ping("p".into()), Message::text("second")]);

    // A sender that gives up in the middle of a frame: the frame goes on where it stopped.
    let (mut server, mut client) = pair(3);
    assert!(server.send(Message::text("one two three")).now_or_never().is_none());
    let reader = tokio::spawn(async move { (next(&mut client).await, next(&mut client).await) });
    server.send(Message::text("four")).await.unwrap();
    assert_eq!(reader.await.unwrap(), (Message::text("one two three"), Message::text("four")));
}

#[tokio::test]
async fn halves_work_in_two_tasks_and_neither_takes_the_others_wake_up() {
    let (server, client) = pair(64);
    let server = tokio::spawn(echo(server));
    let (mut sink, mut messages) = client.split();
    let count = 2_000;
    let sender = tokio::spawn(async move {
        for n in 0..count {
            sink.send(Message::text(n.to_string())).await.unwrap();
        }
        sink
    });
    for n in 0..count {
        // Polled once, dropped, and polled again, so that wakers go stale.
        let message = match messages.next().now_or_never() {
            Some(message) => message,
            None => messages.next().await,
        };
        assert_eq!(message.unwrap().unwrap(), Message::text(n.to_string()));
    }
    let mut sink = sender.await.unwrap();
    sink.close().await.unwrap();
    while messages.next().await.is_some() {}
    assert!(server.await.unwrap().unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_woken_although_the_reader_polled_last_and_went_away() {
    let (server, mut wire) = served(16);
    let (mut sink, mut messages) = server.split();
    let mut writing =
        tokio::spawn(async move { sink.send(Message::binary(vec![1; 100])).await.map(|()| sink) });
    tokio::task::yield_now().await;
    // The reader goes on with the writing, is held up, and is never polled again.
    assert!(messages.next().now_or_never().is_none());
    let mut all = [0; 102];
    let read = timeout(Duration::from_secs(60), wire.read_exact(&mut all));
    read.await.expect("the writer goes on").unwrap();
    assert!((&mut writing).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_although_the_writer_polled_last_and_went_away() {
    let (mut server, mut wire) = served(16);
    wire.write_all(&frames(|out| put_ping(b"0123456789", KEY, out))).await.unwrap();
    server.put(Message::binary(vec![1; 100]));
    let (mut sink, mut messages) = server.split();
    let reader = tokio::spawn(async move {
        messages.next().await.unwrap().unwrap();
        messages.next().await
    });
    tokio::task::yield_now().await;
    // The writer goes on with what the reader could not write, is held up, and is never polled again.
    assert!(sink.flush().now_or_never().is_none());
    let mut all = [0; 114];
    let read = timeout(Duration::from_secs(60), wire.read_exact(&mut all));
    read.await.expect("the reader goes on").unwrap();
    assert!(all.ends_with(b"\x8a\x0a0123456789"));
    reader.abort();
}

#[tokio::test(start_paused = true)]
async fn a_writer_learns_of_a_close_that_the_reader_took_and_left() {
    let (server, mut wire) = served(16);
    let (mut sink, mut messages) = server.split();
    let writing = tokio::spawn(async move { sink.send(Message::binary(vec![1; 100])).await });
    tokio::task::yield_now().await;
    wire.write_all(&frames(|out| put_close(CloseCode::Normal, "", KEY, out))).await.unwrap();
    assert!(matches!(messages.next().await, Some(Ok(Message::Close(_)))));
    let sent = timeout(CLOSE_TIMEOUT * 2, writing).await.expect("the writer is told").unwrap();
    assert!(matches!(sent, Err(SocketError::Closed)), "{sent:?}");
}

#[tokio::test]
async fn a_foreign_peer_agrees_on_either_side() {
    use tokio_tungstenite::{WebSocketStream, tungstenite};
    for ours in [Role::Server, Role::Client] {
        let (here, there) = duplex(1 << 10);
        let role = match ours {
            Role::Server => tungstenite::protocol::Role::Client,
            Role::Client => tungstenite::protocol::Role::Server,
        };
        let echo = tokio::spawn(echo(Socket::new(here, ours)));
        let mut foreign = WebSocketStream::from_raw_socket(there, role, None).await;
        for size in [0, 5, 70_000] {
            let message = tungstenite::Message::text("x".repeat(size));
            foreign.send(message.clone()).await.unwrap();
            assert_eq!(foreign.next().await.unwrap().unwrap(), message);
        }
        foreign.send(tungstenite::Message::Ping("?".into())).await.unwrap();
        assert_eq!(foreign.next().await.unwrap().unwrap(), tungstenite::Message::Pong("?".into()));
        foreign.close(None).await.unwrap();
        while foreign.next().await.is_some() {}
        drop(foreign);
        assert!(echo.await.unwrap().unwrap().clean);
    }
}
