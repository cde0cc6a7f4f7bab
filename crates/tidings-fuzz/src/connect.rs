//! The client's handshake on answers of any kind, and the socket on what follows them.
//!
//! Input: a byte of choices (1: compression is offered, 2: two subprotocols are), cuts, and what the server sends.
//! `{key}` in it becomes what accepts the client's key, which no fuzzer would find.

use crate::input::{Cuts, Input};
use futures_util::StreamExt;
use tidings_ws::{Connect, Message};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
};
use tungstenite::handshake::derive_accept_key;

/// Gives the answer in one piece and in many: both must end the same.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.byte();
    let cuts = input.cuts();
    let answer = input.rest();
    let protocols = if choices & 2 != 0 { &["chat", "superchat"][..] } else { &[] };
    let connect = Connect::new("example.org", "/ws")
        .expect("an address")
        .compression(choices & 1 != 0)
        .protocols(protocols.iter().copied());
    RUNTIME.with(|runtime| {
        let whole = runtime.block_on(meet(&connect, answer, None));
        let cut = runtime.block_on(meet(&connect, answer, Some(cuts)));
        assert_eq!(whole, cut, "a cut makes a difference");
        let Ok((protocol, _, _)) = whole else { return };
        assert!(protocol.is_none_or(|chosen| protocols.contains(&chosen.as_str())));
        assert!(answer.trim_ascii_start().starts_with(b"HTTP/1.1 101"));
        assert!(answer.windows(KEY.len()).any(|window| window == KEY), "the key was not accepted");
    });
}

/// The subprotocol, what was received, and how it ended; or why there is no socket.
type Met = Result<(Option<String>, Vec<Message>, String), String>;

async fn meet(connect: &Connect, answer: &[u8], cuts: Option<Cuts<'_>>) -> Met {
    // The answer has to fit: nobody may be waiting to write when the client has gone.
    let (client, server) = duplex(1 << 20);
    let client = async {
        let mut socket = connect.over(client).await.map_err(|error| format!("{error:?}"))?;
        let protocol = socket.protocol().map(str::to_owned);
        let (mut messages, mut failure) = (Vec::new(), String::new());
        while let Some(message) = socket.next().await {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => failure = format!("{error:?}"),
            }
        }
        assert!(socket.outcome().is_some());
        Ok((protocol, messages, failure))
    };
    tokio::join!(client, serve(server, answer, cuts)).0
}

/// Answers the request, and reads on until the client has gone, so that it can say all it wants.
async fn serve(mut wire: DuplexStream, answer: &[u8], cuts: Option<Cuts<'_>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(wire.read_buf(&mut request).await.is_ok_and(|count| count > 0), "a whole request");
    }
    let request = String::from_utf8(request).expect("ours is ASCII");
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let answer = with_key(answer, derive_accept_key(key.as_bytes()).as_bytes());
    match cuts {
        None => _ = wire.write_all(&answer).await,
        Some(cuts) => {
            for piece in cuts.pieces(&answer) {
                let _ = wire.write_all(piece).await;
                // The client reads before the next piece comes.
                tokio::task::yield_now().await;
            }
        }
    }
    let _ = wire.shutdown().await;
    while wire.read_buf(&mut Vec::with_capacity(4_096)).await.is_ok_and(|count| count > 0) {}
}

fn with_key(answer: &[u8], key: &[u8]) -> Vec<u8> {
    match answer.windows(KEY.len()).position(|window| window == KEY) {
        Some(at) => [&answer[..at], key, &answer[at + KEY.len()..]].concat(),
        None => answer.to_vec(),
    }
}

const KEY: &[u8] = b"{key}";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}
