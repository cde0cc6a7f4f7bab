//! A peer that never answers the close frame, and keeps its stream open, is given up after five seconds at the most,
//! and the end is not called clean.

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tidings_ws::{CloseCode, Message, Socket, SocketError, decode::Role, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cause {
    Ours,
    BrokenProtocol,
}

const BOUND: Duration = Duration::from_secs(5);

/// Reads and answers nothing; gives what it read when the other end lets go.
async fn read_on(mut wire: DuplexStream) -> Vec<u8> {
    let mut read = Vec::new();
    wire.read_to_end(&mut read).await.expect("a pipe does not break");
    // The other half stays open, as of a peer that has not noticed.
    std::future::pending::<()>().await;
    read
}

async fn end_of(mut socket: Socket<DuplexStream>, cause: Cause) -> (Socket<DuplexStream>, Duration) {
    let begun = Instant::now();
    match cause {
        Cause::Ours => {
            let outcome = socket.close(CloseCode::Away, "bye").await;
            assert_eq!(socket.outcome(), Some(outcome));
        }
        Cause::BrokenProtocol => {
            let error = socket.next().await.expect("an error");
            assert!(matches!(error, Err(SocketError::Protocol(_))), "{error:?}");
        }
    }
    // The end comes once.
    assert!(socket.next().await.is_none() && socket.next().await.is_none());
    (socket, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_in_time_and_the_end_is_unclean() {
    for role in [Role::Server, Role::Client] {
        for cause in [Cause::Ours, Cause::BrokenProtocol] {
            for reads in [true, false] {
                let case = format!("{role:?}, {cause:?}, the peer reads: {reads}");
                // Less than a close frame, for a peer that does not read.
                let (stream, mut wire) = duplex(if reads { 1 << 10 } else { 2 });
                let socket = Socket::new(stream, role);
                if cause == Cause::BrokenProtocol {
                    // A reserved opcode.
                    wire.write_all(&[0x8f]).await.expect("sent");
                }
                let reader = tokio::spawn(async move {
                    if reads {
                        read_on(wire).await;
                    } else {
                        std::future::pending::<()>().await;
                        drop(wire);
                    }
                });
                let (socket, took) = end_of(socket, cause).await;
                let outcome = socket.outcome().expect("it has ended");
                assert_eq!((outcome.clean, outcome.code), (false, CloseCode::Abnormal), "{case}");
                assert!(took <= BOUND, "{case}: it took {took:?}");
                assert!(took > BOUND / 2, "{case}: the peer had only {took:?}");
                reader.abort();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_was_held_up_is_told_in_time() {
    let (stream, mut wire) = duplex(16);
    let (mut sink, mut messages) = Socket::new(stream, Role::Server).split();
    let writer = tokio::spawn(async move { sink.send(Message::binary(vec![0; 1 << 20])).await });
    tokio::task::yield_now().await;
    wire.write_all(&[0x8f]).await.expect("sent");
    let begun = Instant::now();
    assert!(messages.next().await.expect("an error").is_err());
    assert!(matches!(writer.await.expect("no panic"), Err(SocketError::Closed)));
    assert!(begun.elapsed() <= BOUND);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_with_another_message_is_no_cleaner() {
    let (stream, mut wire) = duplex(1 << 10);
    let mut socket = Socket::new(stream, Role::Server);
    let mut late = BytesMut::new();
    frame::put_text("not a close frame", Some([1, 2, 3, 4]), &mut late);
    wire.write_all(&late).await.expect("sent");
    let begun = Instant::now();
    let outcome = socket.close(CloseCode::Normal, "").await;
    assert!(!outcome.clean);
    assert!(begun.elapsed() <= BOUND);
}
