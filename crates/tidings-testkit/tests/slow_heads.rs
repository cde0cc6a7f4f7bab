//! A peer that takes its time over a request's head, or never sends one, is not waited for.

use std::time::{Duration, Instant};
use tidings_testkit::{Server, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// Sends the text a byte at a time, then nothing; answers what came back until the server closed.
async fn drip(server: &Server, text: &[u8], pause: Duration) -> (String, Duration) {
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    let begin = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let writing = async {
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
    let drips = [
        drip(&server, b"", Duration::ZERO),
        drip(&server, b"G", Duration::ZERO),
        drip(&server, b"GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\nX: ", Duration::from_millis(100)),
        drip(&server, b"PRI * HT", Duration::from_millis(10)),
    ];
    let longest = Duration::from_secs(12);
    for (at, (answer, time)) in futures_util::future::join_all(drips).await.into_iter().enumerate() {
        println!("{at}: after {time:?} {answer:.60}");
        assert!(time < longest && !answer.contains("200 OK"), "{at}: {time:?} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_headers_is_refused_soon() {
    let server = Server::start().await;
    let many = format!("GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let huge = format!("GET /realtime/poll?room=a HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(20 << 20));
    let line = format!("GET /{}", "y".repeat(20 << 20));
    for request in [many, huge, line] {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let (_, sent) = within(Duration::from_secs(10), "an answer", async {
            tokio::join!(read.read_to_end(&mut answer), async {
                let mut sent = 0;
                for piece in request.as_bytes().chunks(4 << 10) {
                    if write.write_all(piece).await.is_err() {
                        break;
                    }
                    sent += piece.len();
                }
                sent
            })
        })
        .await;
        let answer = String::from_utf8_lossy(&answer);
        println!("{sent} bytes sent: {answer:.40}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(sent < 12 << 20, "it was read to its end");
    }
}
