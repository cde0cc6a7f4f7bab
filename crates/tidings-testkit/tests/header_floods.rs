//! A flood of headers is refused soon, and costs next to nothing until then.

use cpu_time::ThreadTime;
use std::{net::SocketAddr, time::Duration};
use tidings::{Hub, gate};
use tidings_testkit::{raw::handshake, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A server on a thread of its own, so that its time can be told from the client's, with sockets that hold little.
struct Server {
    address: SocketAddr,
    thread: Handle,
    /// Ends it when dropped.
    _stop: oneshot::Sender<()>,
}

impl Server {
    async fn start() -> Self {
        let (told, tell) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let socket = TcpSocket::new_v4().expect("a socket");
                // The sockets of its connections inherit it.
                socket.set_recv_buffer_size(HELD as u32).expect("a small buffer");
                socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
                let listener = socket.listen(16).expect("a listener");
                let address = listener.local_addr().expect("bound");
                let service = tidings::service(Hub::builder().gate(gate::open()).build());
                tokio::spawn(async { tidings::serve(listener, service).await });
                told.send((address, Handle::current())).expect("somebody waits");
                let _ = stopped.await;
            });
        });
        let (address, thread) = tell.await.expect("it runs");
        Self { address, thread, _stop: stop }
    }

    /// The CPU time its thread has used.
    async fn cpu(&self) -> Duration {
        let time = self.thread.spawn(async { ThreadTime::now().as_duration() });
        within(Duration::from_secs(5), "the server", time).await.expect("it runs")
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_send_buffer_size(HELD as u32).expect("a small buffer");
        let stream = socket.connect(self.address).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// Sends the pieces until the server has ended the connection. Gives its answer, the bytes that it or a socket
    /// has taken, and the CPU time they cost.
    async fn flood(&self, pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<u8>, usize, Duration) {
        let before = self.cpu().await;
        let mut stream = self.connect().await;
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let sending = async {
            let mut sent = 0;
            for piece in pieces {
                let mut piece = &piece[..];
                while !piece.is_empty() {
                    // The connection is ended, or reset since the server did not read on.
                    let Ok(taken) = write.write(piece).await else { return sent };
                    sent += taken;
                    piece = &piece[taken..];
                }
            }
            sent
        };
        let (_, sent) = within(Duration::from_secs(10), "the connection's end", async {
            tokio::join!(read.read_to_end(&mut answer), sending)
        })
        .await;
        drop(stream);
        (answer, sent, self.cpu().await - before)
    }
}

/// What a socket buffer is asked to hold; the kernel takes twice that.
const HELD: usize = 8 << 10;
/// What the server takes of a head.
const HEAD: usize = 64 << 10;
/// What a connection may take: the head, the read that goes beyond it, and what both sockets hold, of 16 KiB each.
const TAKEN: usize = HEAD + (48 << 10);
const CHEAP: Duration = Duration::from_millis(50);

/// 20 MiB in pieces.
fn endless(begin: String, piece: usize) -> impl Iterator<Item = Vec<u8>> {
    let rest = std::iter::repeat_with(move || vec![b'y'; piece]).take((20 << 20) / piece);
    std::iter::once(begin.into_bytes()).chain(rest)
}

#[tokio::test]
async fn a_flood_is_refused_within_64_kib_and_50_milliseconds_on_every_path() {
    let server = Server::start().await;
    for path in ["ws", "sse", "poll", "send"] {
        let target = format!("/realtime/{path}?room=a");
        let head = match path {
            "ws" => handshake(&target, &[]),
            "send" => format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"),
            _ => format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
        let head = head.trim_end().to_owned();
        let many = format!("{head}\r\n{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes();
        let many: Vec<_> = many.chunks(4 << 10).map(<[u8]>::to_vec).collect();
        let floods: [(_, Box<dyn Iterator<Item = Vec<u8>>>); 4] = [
            ("a header of 20 MB", Box::new(endless(format!("{head}\r\nX: "), 4 << 10))),
            // Who begins again at the first byte with each piece pays for this one.
            ("the same in small pieces", Box::new(endless(format!("{head}\r\nX: "), 100))),
            ("10 000 headers", Box::new(many.into_iter())),
            ("an endless request line", Box::new(endless(format!("GET {target}"), 4 << 10))),
        ];
        for (what, flood) in floods {
            let (answer, sent, cpu) = server.flood(flood).await;
            let answer = String::from_utf8_lossy(&answer);
            println!("{path}, {what}: {sent} bytes, {cpu:?}, {answer:.40}");
            let refused = ["HTTP/1.1 400", "HTTP/1.1 414", "HTTP/1.1 431"];
            assert!(answer.is_empty() || refused.iter().any(|begin| answer.starts_with(begin)), "{answer}");
            assert!(sent <= TAKEN, "{path}, {what}: {sent} bytes were taken");
            assert!(cpu < CHEAP, "{path}, {what}: {cpu:?}");
        }
    }
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn h2(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A header field as HPACK's literal that nobody keeps (RFC 7541 §6.2.2); its length takes two bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let [low, high] = ((value.len() - 127) as u16).to_le_bytes();
    assert!(high == 0 && low < 128, "the value is as long as the encoding here takes");
    [&[0, name.len() as u8], name.as_bytes(), &[0x7f, low], value.as_bytes()].concat()
}

#[tokio::test]
async fn a_flood_over_http2_is_refused_as_soon() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    let server = Server::start().await;
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2(4, 0, 0, &[])].concat();
    // `:method: GET`, `:scheme: http`, `:path: /` of the static table, and a field that fills the frame.
    let begin = [&[0x82, 0x86, 0x84][..], &literal("x", &"y".repeat(200))].concat();
    let headers = h2(HEADERS, END_STREAM, 1, &begin);
    let fields = literal("x", &"y".repeat(200)).repeat(19);
    let floods: [(_, Vec<u8>); 3] = [
        ("continuations with fields", h2(CONTINUATION, 0, 1, &fields)),
        ("small continuations", h2(CONTINUATION, 0, 1, &literal("x", &"y".repeat(130)))),
        ("empty continuations", h2(CONTINUATION, 0, 1, &[])),
    ];
    for (what, piece) in floods {
        let pieces = std::iter::repeat_with(|| piece.clone()).take((20 << 20) / piece.len());
        let begin = [preface.clone(), headers.clone()].into_iter();
        let (answer, sent, cpu) = server.flood(begin.chain(pieces)).await;
        println!("{what}: {sent} bytes, {cpu:?}");
        // GOAWAY, for nothing was served, with ENHANCE_YOUR_CALM.
        let refusal = [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
        assert!(answer.windows(refusal.len()).any(|bytes| bytes == refusal), "{what}: {answer:02x?}");
        assert!(sent <= TAKEN, "{what}: {sent} bytes were taken");
        assert!(cpu < CHEAP, "{what}: {cpu:?}");
    }
}
