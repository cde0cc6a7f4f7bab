//! How inputs are sent, and what must never come back.

use crate::inputs::{frame, http2, last_frame, last_request, mutate, request, upgrade};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tidings_testkit::{Random, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// An attack on a server, and what has come of it.
#[derive(Debug)]
pub(crate) struct Attack {
    address: SocketAddr,
    /// Whether the server has place for so few that it has to say so.
    full: bool,
    sent: AtomicUsize,
    connections: AtomicUsize,
    upgraded: AtomicUsize,
    /// How often each status was answered.
    statuses: Mutex<BTreeMap<u16, usize>>,
    /// How often each code was answered on WebSockets.
    closed: Mutex<BTreeMap<u16, usize>>,
}

impl Attack {
    pub(crate) fn new(address: SocketAddr, full: bool) -> Self {
        Self {
            address,
            full,
            sent: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            upgraded: AtomicUsize::new(0),
            statuses: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    /// Inputs so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Relaxed)
    }

    /// One connection, with one input or many.
    pub(crate) async fn once(&self, random: &mut Random) {
        self.connections.fetch_add(1, Relaxed);
        let stream = TcpStream::connect(self.address).await.expect("the server takes connections");
        let kind = random.below(16);
        let attack = async {
            match kind {
                0..7 => self.requests(stream, random).await,
                7..14 => self.frames(stream, random).await,
                14 => self.drip(stream, random).await,
                _ => self.junk(stream, random).await,
            }
        };
        // What breaks is the server's right; what hangs is not.
        let _ = within(LONGEST, "an end", attack).await;
    }

    /// Several requests at once, of which some may be right.
    async fn requests(&self, mut stream: TcpStream, random: &mut Random) -> io::Result<()> {
        let mut all: Vec<_> = (0..random.below(60)).flat_map(|_| request(random)).collect();
        all.extend(last_request(random));
        stream.write_all(&all).await?;
        self.sent.fetch_add(1, Relaxed);
        self.hear(&mut stream, random).await
    }

    /// A WebSocket, or nearly one, and what goes over it.
    async fn frames(&self, mut stream: TcpStream, random: &mut Random) -> io::Result<()> {
        self.sent.fetch_add(1, Relaxed);
        stream.write_all(&upgrade(random)).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // What is not finished is waited for by the server.
            let Ok(read) = timeout(PAUSE, stream.read_u8()).await else { return Ok(()) };
            head.push(read?);
        }
        self.note(&head);
        if !head.starts_with(b"HTTP/1.1 101") {
            return Ok(());
        }
        self.upgraded.fetch_add(1, Relaxed);
        let (mut read, mut write) = stream.into_split();
        let mut frames: Vec<_> = (0..random.below(200)).map(|_| frame(random)).collect();
        frames.push(last_frame(random));
        self.sent.fetch_add(frames.len(), Relaxed);
        let sending = async {
            for piece in frames.concat().chunks(1 + random.below(4_000) as usize) {
                write.write_all(piece).await?;
            }
            Ok::<_, io::Error>(())
        };
        let mut all = Vec::new();
        let hearing = async {
            while let Ok(count) = timeout(PAUSE, read.read_buf(&mut all)).await
                && count? > 0
            {}
            Ok::<_, io::Error>(())
        };
        let (sent, heard) = tokio::join!(sending, hearing);
        if let Some(code) = close_code(&all) {
            *self.closed.lock().expect("no panic").entry(code).or_default() += 1;
        }
        sent.and(heard)
    }

    /// Something right, slowly and in pieces, and mostly not to its end.
    async fn drip(&self, mut stream: TcpStream, random: &mut Random) -> io::Result<()> {
        let mut all = if random.below(2) == 0 { request(random) } else { upgrade(random) };
        all.truncate(random.below(all.len() as u64 + 20) as usize);
        self.sent.fetch_add(1, Relaxed);
        let piece = 1 + random.below(40) as usize;
        for piece in all.chunks(piece).take(50) {
            stream.write_all(piece).await?;
            sleep(Duration::from_millis(random.below(4))).await;
        }
        if random.below(2) == 0 {
            return Ok(());
        }
        stream.shutdown().await?;
        self.hear(&mut stream, random).await
    }

    /// What is none of all that, or HTTP/2 that is none; then often gone before the answer.
    async fn junk(&self, mut stream: TcpStream, random: &mut Random) -> io::Result<()> {
        self.sent.fetch_add(1, Relaxed);
        let mut all = match random.below(3) {
            0 => http2(random),
            1 => (0..random.below(400)).map(|_| random.below(256) as u8).collect(),
            _ => frame(random),
        };
        mutate(random, &mut all);
        stream.write_all(&all).await?;
        if random.below(2) == 0 {
            // Closed with something unread, it is reset.
            return Ok(());
        }
        self.hear(&mut stream, random).await
    }

    /// Hears answers until there are none, and often goes away before.
    async fn hear(&self, stream: &mut TcpStream, random: &mut Random) -> io::Result<()> {
        let mut all = Vec::new();
        let early = random.below(8) == 0;
        let ended = async {
            while let Ok(count) = timeout(PAUSE, stream.read_buf(&mut all)).await
                && count? > 0
                && !early
            {}
            Ok(())
        }
        .await;
        self.note(&all);
        ended
    }

    /// Notes the statuses of answers, of which none may say that the server is at fault, but that it is full.
    fn note(&self, answers: &[u8]) {
        let mut statuses = self.statuses.lock().expect("no panic");
        for at in (0..answers.len()).filter(|at| answers[*at..].starts_with(b"HTTP/1.")) {
            let text = answers.get(at + 9..at + 12).and_then(|text| str::from_utf8(text).ok());
            let Some(status) = text.and_then(|text| text.parse().ok()) else { continue };
            *statuses.entry(status).or_default() += 1;
            // What was answered was looked at.
            self.sent.fetch_add(1, Relaxed);
            let answer = String::from_utf8_lossy(&answers[at..answers.len().min(at + 600)]);
            let is_full = || self.full && status == 503 && says_when_there_is_place(&answer);
            assert!(status < 500 || is_full(), "{answer}");
        }
    }

    /// What the attack is about and has not happened yet, or hardly.
    pub(crate) fn missing(&self) -> Option<String> {
        let statuses = self.statuses.lock().expect("no panic");
        let expected: &[u16] =
            if self.full { &[101, 200, 503] } else { &[101, 200, 204, 400, 403, 404, 405, 426, 429] };
        if let Some(status) = expected.iter().find(|status| !statuses.contains_key(status)) {
            return Some(format!("an answer with {status}"));
        }
        if self.upgraded.load(Relaxed) <= 10 {
            return Some("more than ten WebSockets".to_owned());
        }
        let closed = self.closed.lock().expect("no panic");
        let code = [1002, 1009].into_iter().find(|code| !closed.contains_key(code))?;
        Some(format!("a close with {code}"))
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, connections) = (self.sent(), self.connections.load(Relaxed));
        let statuses = self.statuses.lock().expect("no panic");
        let closed = self.closed.lock().expect("no panic");
        write!(
            f,
            "{sent} inputs over {connections} connections; statuses {statuses:?}; close codes {closed:?}"
        )
    }
}

/// Whether the first of these answers, as far as it has come, says that there is no place, and when to come again.
fn says_when_there_is_place(answers: &str) -> bool {
    let answer = answers[1..].find("HTTP/1.").map_or(answers, |end| &answers[..end]);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return true };
    head.contains("\r\nretry-after: ") && (body.is_empty() || body.contains("\"code\":\"busy\""))
}

/// The code of the close frame among a server's frames.
fn close_code(mut frames: &[u8]) -> Option<u16> {
    loop {
        let (len, rest) = match *frames {
            [_, 126, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
            [_, len @ ..126, ref rest @ ..] => (usize::from(len), rest),
            _ => return None,
        };
        if frames[0] == 0x88 {
            return Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        }
        frames = rest.get(len..)?;
    }
}

/// How long nothing may come before an attacker goes.
const PAUSE: Duration = Duration::from_millis(25);
/// What no connection may take.
const LONGEST: Duration = Duration::from_secs(30);
