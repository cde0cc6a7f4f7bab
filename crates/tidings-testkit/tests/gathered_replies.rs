//! Commands that come together are answered together: a write costs more than what it carries.

use std::time::Duration;
use tidings::Rooms;
use tidings_testkit::{RawSocket, Server, raw::masked};
use tokio::io::AsyncReadExt;

const COMMANDS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_read_are_answered_in_one_write() {
    // On another broker the answers come when the broker says, not together.
    let server = Server::in_memory(Rooms::log(100, Duration::from_secs(60))).await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws?room=r", &[]).await;
    assert_eq!(socket.json().await["type"], "joined");
    let publish =
        |number| format!(r#"{{"type":"publish","ref":{number},"room":"other","event":"n","data":{number}}}"#);
    let commands: Vec<u8> =
        (1..=COMMANDS).flat_map(|number| masked(0x81, publish(number).as_bytes())).collect();
    socket.send(&commands).await;
    let mut answers = vec![0; 64 << 10];
    let count = socket.stream().read(&mut answers).await.expect("answers");
    let answers = String::from_utf8_lossy(&answers[..count]).into_owned();
    let replies = answers.matches(r#""type":"reply""#).count() as u64;
    assert_eq!(replies, COMMANDS, "{answers}");
}
