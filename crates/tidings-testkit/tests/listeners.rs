//! What a server listens on: IPv6, both at once, and Unix sockets.

use futures_util::StreamExt;
use serde_json::Value;
use std::{io::ErrorKind, net::SocketAddr, path::PathBuf, time::Duration};
use tidings::{Event, Hub, Limits, Listener, Proxies, Rate, bind_unix, gate};
use tidings_testkit::{Client, Kind, Log, raw::handshake, request, within};
use tidings_ws::{Connect, Message};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

const SOON: Duration = Duration::from_secs(5);

/// A server until it is told to end.
struct Running {
    hub: Hub,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn on(listener: impl Into<Listener>) -> Self {
        let hub = Hub::builder().gate(gate::open()).build();
        let (stop, stopped) = oneshot::channel();
        // A proxy on this machine may come by way of a Unix socket.
        let service = tidings::service(hub.clone()).proxies(Proxies::x_forwarded_for());
        let serve = tidings::serve(listener, service).until(async {
            // An end without a word is an end, too.
            let _ = stopped.await;
        });
        Self { hub, stop, task: tokio::spawn(serve.into_future()) }
    }

    async fn end(self) {
        self.stop.send(()).expect("it runs");
        within(SOON, "the end", self.task).await.expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn a_server_on_ipv6_serves_every_transport() {
    let listener = TcpListener::bind("[::1]:0").await.expect("IPv6 on this machine");
    let address = listener.local_addr().expect("bound");
    let server = Running::on(listener);
    for kind in Kind::ALL {
        let mut client = Client::connect(kind, address, "a", "now").await.expect("let in");
        server.hub.publish("a", Event::json("n", &7).expect("JSON")).await.expect("published");
        assert_eq!(client.number().await, 7, "{kind:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_server_on_both_is_reached_by_either() {
    let listener = TcpListener::bind("[::]:0").await.expect("IPv6 on this machine");
    let port = listener.local_addr().expect("bound").port();
    let server = Running::on(listener);
    for ip in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(ip.parse().expect("an address"), port);
        let answer = request(address, "GET", "/realtime/poll?room=a", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 200, "{ip}");
    }
    server.end().await;
}

/// A folder of its own for a socket, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, until: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    within(SOON, until, async {
        while !String::from_utf8_lossy(&heard).contains(until) {
            assert!(stream.read_buf(&mut heard).await.expect("an answer") > 0, "{heard:?}");
        }
    })
    .await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_server_on_a_unix_socket_serves_every_transport_and_counts_who_is_behind_a_proxy() {
    let (log, _logging) = Log::begin();
    let folder = Folder::new("transports");
    let mut limits = Limits::default();
    limits.address_sessions = 1;
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    let service = tidings::service(hub.clone()).proxies(Proxies::x_forwarded_for());
    let listener = bind_unix(folder.socket()).expect("bound");
    let server = tokio::spawn(tidings::serve(listener, service).into_future());
    let connect = async || UnixStream::connect(folder.socket()).await.expect("connected");
    let event = Event::json("n", &7).expect("JSON");

    let mut socket = Connect::new("localhost", "/realtime/ws?room=a")
        .expect("an address")
        .over(connect().await)
        .await
        .expect("let in");
    let mut next = async || match within(SOON, "a message", socket.next()).await {
        Some(Ok(Message::Text(text))) => serde_json::from_str::<Value>(&text).expect("JSON"),
        other => panic!("{other:?}"),
    };
    assert_eq!(next().await["type"], "joined");
    hub.publish("a", event.clone()).await.expect("published");
    assert_eq!(next().await["data"], 7);

    let sse = "GET /realtime/sse?room=a&from=start HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ask(connect().await, sse, "data: 7").await;
    let poll = "GET /realtime/poll?room=a&from=start HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ask(connect().await, poll, "\"data\":7").await;
    ask(connect().await, "GET /realtime/poll?room=a HTTP/1.0\r\n\r\n", "HTTP/1.0 200").await;

    // Whoever comes without a word of another is not counted; one that a proxy names is.
    let named = handshake("/realtime/ws?room=a", &["X-Forwarded-For: 192.0.2.1"]);
    let mut held = connect().await;
    held.write_all(named.as_bytes()).await.expect("sent");
    within(SOON, "an answer", held.read_u8()).await.expect("an answer");
    ask(connect().await, &named, "too_many_sessions").await;
    assert!(log.lines(&["panic"]).is_empty());
    server.abort();
    assert!(server.await.expect_err("ended").is_cancelled());
    assert!(!folder.socket().exists(), "removed as well when the server is dropped");
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = Folder::new("stale");
    let path = folder.socket();
    // Left behind by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    let server = Running::on(bind_unix(&path).expect("replaced"));
    let poll = "GET /realtime/poll?room=a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ask(UnixStream::connect(&path).await.expect("connected"), poll, "200 OK").await;
    let error = bind_unix(&path).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    ask(UnixStream::connect(&path).await.expect("still there"), poll, "200 OK").await;
    server.end().await;
    assert!(!path.exists(), "removed at the end");

    // What is no socket is left alone.
    std::fs::write(&path, "a text").expect("written");
    let error = bind_unix(&path).expect_err("a file");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "a text");
    std::fs::remove_file(&path).expect("removed");

    // A socket that another has put in the place of ours is not ours to remove.
    let server = Running::on(bind_unix(&path).expect("bound"));
    std::fs::remove_file(&path).expect("removed");
    let other = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    server.end().await;
    assert!(path.exists());
    drop(other);
}

#[tokio::test]
async fn who_comes_with_many_others_finds_a_place_in_the_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let service = tidings::service(Hub::builder().gate(gate::open()).build());
    let server = tokio::spawn(tidings::serve(listener, service).accepts(Rate::per_second(1)).into_future());
    // It listens, and lets nobody in any more.
    request(address, "GET", "/", &[], "").await.expect("an answer");
    let mut waiting = Vec::new();
    for _ in 0..500 {
        // Whoever finds no place has lost its first packet, and sends the next after a second.
        let connecting = within(Duration::from_millis(900), "a place", TcpStream::connect(address));
        waiting.push(connecting.await.expect("connected"));
    }
    server.abort();
}
