//! A program with a server in it, and how it must end.

use crate::{Answer, Kind, RawSocket, raw, request, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
};

/// A program that is told where to listen by `--listen` and says so in its first line. It is killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts a program on a free port of the loopback and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(path: &str, args: &[&str]) -> Self {
        Self::start_at(path, SocketAddr::from(([127, 0, 0, 1], 0)), args).await
    }

    /// Starts a program at an address and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_at(path: &str, address: SocketAddr, args: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.args(["--listen", &address.to_string()]).args(args).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = within(LIMIT, "the first line", lines.next_line()).await.expect("a line");
        let line = line.expect("it says where it listens");
        let (_, rest) = line.split_once("http://").unwrap_or_else(|| panic!("no address in {line:?}"));
        let address = rest.trim_end_matches("/realtime/").parse().expect("an address");
        Self { child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to end, by SIGTERM.
    ///
    /// # Panics
    /// If it has ended.
    pub fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("it runs"), Signal::TERM).expect("it can be told");
    }

    /// Ends it at once, by SIGKILL.
    ///
    /// # Panics
    /// If it cannot be.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the program's end", self.child.wait()).await.expect("it can be waited for")
    }
}

/// A program whose base is `/realtime`, that answers `/ready` and lets anybody into a room: told to end, it tells each client
/// so in the way of its transport, refuses those who come, leaves nobody connected, and exits with 0.
///
/// # Panics
/// If any of this is not so.
pub async fn ends_well(mut program: Program, room: &str) {
    let address = program.address();
    assert_eq!(get(address, "/ready").await.status, 200);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = RawSocket::connect(address, &format!("/realtime/ws?room={room}"), &[]).await;
        assert_eq!(socket.json().await["type"], "joined");
        sockets.push(socket);
    }
    let cursor = get(address, &format!("/realtime/poll?room={room}")).await.json()["cursor"].clone();
    let cursor = cursor.as_str().expect("a cursor");
    let streams = [(); 3].map(|()| asking(address, format!("/realtime/sse?room={room}")));
    let polls =
        [(); 3].map(|()| asking(address, format!("/realtime/poll?room={room}&cursor={cursor}&wait=60")));
    // Whatever the server knows of those, it is a second behind at most.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut kept = TcpStream::connect(address).await.expect("connected");
    kept.write_all(b"GET /ready HTTP/1.1\r\nHost: tidings\r\n\r\n").await.expect("sent");
    let head = raw::answer(&mut kept).await.expect("an answer");
    let mut silent = TcpStream::connect(address).await.expect("connected");

    program.terminate();
    for poll in polls {
        let answer = poll.await.expect("no panic").json();
        let [close] = &answer["events"].as_array().expect("events")[..] else { panic!("{answer}") };
        is_drain(close);
    }
    for socket in &mut sockets {
        is_drain(&socket.json().await);
        assert_eq!(socket.close_code().await, 1012);
    }
    for stream in streams {
        // Had it no end of its own, it could not be read to one.
        let body = stream.await.expect("no panic").body;
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        let last = body.trim_end().rsplit("\n\n").next().expect("an event");
        let field = |name| last.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(field("event: "), Some("tidings.close"), "{body}");
        is_drain(&serde_json::from_str(field("data: ").expect("data")).expect("JSON"));
        let retry: u32 = field("retry: ").and_then(|retry| retry.parse().ok()).expect("when to come back");
        assert!((500..=5_000).contains(&retry), "{retry}");
    }
    // The sockets have not answered yet, and so it is still there.
    let ready = get(address, "/ready").await;
    assert_eq!((ready.status, &ready.body[..]), (503, &b"draining\n"[..]));
    for kind in Kind::ALL {
        refused(address, kind, room).await;
    }
    for mut socket in sockets {
        socket.send(&raw::masked(0x88, &1012_u16.to_be_bytes())).await;
    }
    let mut rest = Vec::new();
    within(LIMIT, "the end of what was kept", kept.read_to_end(&mut rest)).await.expect("an end");
    let body: usize = raw::field(&head, "content-length").and_then(|len| len.parse().ok()).expect("a length");
    assert_eq!(rest.len(), body, "nothing but the answer to what was asked");
    let status = program.exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    let end = within(LIMIT, "the end of who was silent", silent.read(&mut [0])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

/// Who comes now is told when to come again.
async fn refused(address: SocketAddr, kind: Kind, room: &str) {
    if kind == Kind::Sse {
        let browser = ["accept: text/event-stream"];
        let target = format!("/realtime/sse?room={room}");
        let answer = request(address, "GET", &target, &browser, "").await.expect("an answer");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 200 && body.contains("retry: "), "{answer:?}");
    }
    let (path, headers): (_, &[&str]) = match kind {
        Kind::Ws => (
            "ws",
            &[
                "connection: upgrade",
                "upgrade: websocket",
                "sec-websocket-version: 13",
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            ],
        ),
        Kind::Sse => ("sse", &[]),
        Kind::Poll => ("poll", &[]),
    };
    let answer = request(address, "GET", &format!("/realtime/{path}?room={room}"), headers, "").await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, &answer.json()["code"]), (503, &Value::from("unavailable")), "{kind:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    assert_eq!(answer.header("connection"), "close", "nothing more is asked on it");
}

fn is_drain(close: &Value) {
    assert_eq!((&close["type"], &close["code"]), (&Value::from("close"), &Value::from("drain")), "{close}");
    assert!(close["retry"][0].as_u64() < close["retry"][1].as_u64(), "{close}");
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    within(LIMIT, "an answer", request(address, "GET", target, &[], "")).await.expect("an answer")
}

fn asking(address: SocketAddr, target: String) -> JoinHandle<Answer> {
    tokio::spawn(async move { get(address, &target).await })
}

/// No test has reason to wait longer.
const LIMIT: Duration = Duration::from_secs(15);
