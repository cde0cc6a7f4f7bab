//! A peer that takes its time over a request's head, or never sends one, is not waited for.

use std::time::{Duration, Instant};
use tidings_testkit::{Server, raw::handshake, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// Sends the text a byte at a time, the first after `late`, then nothing; answers what came back until the server closed.
async fn drip(server: &Server, late: Duration, text: &[u8], pause: Duration) -> (String, Duration) {
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    let begin = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let writing = async {
        sleep(late).await;
        for byte in text {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        // A reset ends the connection as well as its end does.
        let _ = read.read_to_end(&mut answer).await;
    };
    within(Duration::from_secs(15), "the server to give up", async {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    })
    .await;
    (String::from_utf8_lossy(&answer).into_owned(), begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_given_up_in_time_whatever_it_began_with() {
    let server = Server::start().await;
    // 10 bytes a second, and longer than anybody waits for them.
    let slow = Duration::from_millis(100);
    let ws = handshake("/realtime/ws?room=a", &["X: y"]);
    let ws = ws.trim_end().as_bytes();
    let sse = format!("GET /realtime/sse?room=a HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(50));
    let poll = format!("GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(150));
    let line = format!("GET /realtime/poll?room={}", "y".repeat(150));
    let at_once = Duration::ZERO;
    let drips = [
        drip(&server, at_once, b"", Duration::ZERO),
        drip(&server, at_once, b"G", Duration::ZERO),
        drip(&server, at_once, ws, slow),
        drip(&server, at_once, sse.as_bytes(), slow),
        drip(&server, at_once, poll.as_bytes(), slow),
        drip(&server, at_once, line.as_bytes(), slow),
        drip(&server, Duration::from_secs(6), poll.as_bytes(), slow),
        drip(&server, at_once, b"PRI * HT", Duration::from_millis(10)),
    ];
    let longest = Duration::from_secs(10);
    for (at, (answer, time)) in futures_util::future::join_all(drips).await.into_iter().enumerate() {
        println!("{at}: after {time:?} {answer:.60}");
        assert!(time < longest, "{at}: {time:?}");
        assert!(!answer.contains(" 200 ") && !answer.contains(" 101 "), "{at}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_kept_for_the_next_request_is_not_kept_for_long() {
    let server = Server::start().await;
    let poll = "GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\n\r\n";
    // One that asks and then is silent, and one that begins with the next request and is slow.
    let half = format!("{poll}GET /realtime/poll?ro");
    let drips = [
        drip(&server, Duration::ZERO, poll.as_bytes(), Duration::ZERO),
        drip(&server, Duration::from_secs(2), half.as_bytes(), Duration::from_millis(1)),
    ];
    for (answer, time) in futures_util::future::join_all(drips).await {
        assert_eq!(answer.matches(" 200 ").count(), 1, "{answer}");
        assert!(time > Duration::from_secs(8) && time < Duration::from_secs(13), "{time:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_hundred_fields_at_most() {
    let server = Server::start().await;
    for (more, status) in [(98, " 200 "), (101, " 431 ")] {
        let fields = "X: y\r\n".repeat(more);
        let request =
            format!("GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        let (answer, _) = drip(&server, Duration::ZERO, request.as_bytes(), Duration::ZERO).await;
        assert!(answer.contains(status), "{more}: {answer:.80}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_with_half_a_preface_is_gone_at_once() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    stream.write_all(b"PRI * HT").await.expect("sent");
    stream.shutdown().await.expect("its half is ended");
    let mut nothing = Vec::new();
    // A reset is an end as well.
    let _ = within(Duration::from_secs(2), "the end", stream.read_to_end(&mut nothing)).await;
    assert!(nothing.is_empty());
}
