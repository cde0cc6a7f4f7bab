//! As many sessions and connections as there may be, and no more: for all, for an address, for a user.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tidings::{Denied, Event, Gate, Hub, Identity, Limits, Proxies, Rate, Rooms, Service, gate};
use tidings_testkit::{
    Client, Kind, Server,
    raw::{answer, field, handshake},
    request, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep},
};

const SOON: Duration = Duration::from_secs(5);

fn limited(change: impl FnOnce(&mut Limits)) -> Hub {
    let mut limits = Limits::default();
    change(&mut limits);
    Hub::builder().gate(Named).limits(limits).build()
}

/// Who somebody is, says the header `user`.
struct Named;

impl Gate for Named {
    fn connect<'a>(&'a self, head: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
        let name = head.headers.get("user").and_then(|name| name.to_str().ok());
        let who = match name {
            Some("") => Err(Denied::unauthorized("a name is not empty")),
            Some(name) => Ok(Identity::user(name)),
            None => Ok(Identity::anonymous()),
        };
        Box::pin(std::future::ready(who))
    }
}

/// Behind a proxy on this machine.
async fn behind_a_proxy(hub: Hub) -> Server {
    let proxies = Proxies::x_forwarded_for().trust("127.0.0.0/8").expect("a network");
    Server::with_service(tidings::service(hub).proxies(proxies)).await
}

/// Asks for a session that stays, and gives the head of the answer.
async fn open(address: SocketAddr, kind: Kind, headers: &[&str]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = match kind {
        Kind::Ws => handshake("/realtime/ws?room=a", headers),
        Kind::Sse => format!("GET /realtime/sse?room=a HTTP/1.1\r\nHost: tidings\r\n{more}\r\n"),
        // The position of another history: the answer is a gap, and comes at once.
        Kind::Poll => format!("GET /realtime/poll?room=a HTTP/1.1\r\nHost: tidings\r\n{more}\r\n"),
    };
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = answer(&mut stream).await.expect("an answer");
    (stream, head)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
}

/// The code of a refusal.
async fn code((mut stream, head): (TcpStream, String)) -> (u16, String, String) {
    let len = field(&head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.expect("the body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let retry = field(&head, "retry-after").unwrap_or_default().to_owned();
    (status(&head), body["code"].as_str().unwrap_or_default().to_owned(), retry)
}

#[tokio::test]
async fn a_node_takes_only_so_many_sessions() {
    let server = Server::with_hub(limited(|limits| limits.sessions = 2)).await;
    let address = server.address();
    let first = open(address, Kind::Ws, &[]).await;
    let _second = open(address, Kind::Sse, &[]).await;
    assert_eq!(status(&first.1), 101);
    for kind in Kind::ALL {
        let refused = code(open(address, kind, &[]).await).await;
        assert_eq!(refused, (503, "busy".to_owned(), "10".to_owned()), "{kind:?}");
    }
    // A browser's stream would never come back after an error.
    let browser = ["accept: text/event-stream"];
    let later = request(address, "GET", "/realtime/sse?room=a", &browser, "").await.expect("an answer");
    assert_eq!((later.status, later.header("content-type")), (200, "text/event-stream"));
    assert!(later.body.starts_with(b": not now\nretry: "), "{:?}", later.body);
    // The application's own is not counted, and a command needs no session.
    server.hub().subscribe("a", tidings::From::Now).await.expect("inside");
    let publish = r#"{"type":"publish","room":"a","event":"e"}"#;
    let done = request(address, "POST", "/realtime/send", &[], publish).await.expect("an answer");
    assert_eq!(done.status, 200);
    drop(first);
    server.until_sessions(1, SOON).await;
    assert_eq!(status(&open(address, Kind::Ws, &[]).await.1), 101, "a place that was given back");
}

#[tokio::test]
async fn sessions_of_an_address_are_in_only_so_many_rooms() {
    let server = behind_a_proxy(limited(|limits| limits.address_rooms = 3)).await;
    let poll = async |rooms: &str, ip: &str| {
        let target = format!("/realtime/poll?{rooms}");
        let from = [&*format!("x-forwarded-for: {ip}")];
        let answer = request(server.address(), "GET", &target, &from, "").await.expect("an answer");
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        (answer.status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    let (good, busy) = ((200, String::new()), (503, "busy".to_owned()));
    let line = ["x-forwarded-for: 192.0.2.1"];
    let connect = async |kind| Client::connect_with(kind, server.address(), "a", "now", &line).await;
    let mut first = connect(Kind::Ws).await.expect("let in");
    let second = connect(Kind::Sse).await.expect("let in");
    // One is left, for whoever comes, and is given back.
    for _ in 0..3 {
        assert_eq!(poll("room=b", "192.0.2.1").await, good);
        assert_eq!(poll("room=b&room=c", "192.0.2.1").await, busy);
        assert_eq!(poll("room=b&room=c", "192.0.2.2").await, good, "another address");
    }
    let join = async |client: &mut Client, room| {
        client.command(&serde_json::json!({"type": "join", "ref": 1, "room": room})).await["type"].clone()
    };
    assert_eq!(join(&mut first, "b").await, "joined");
    assert_eq!(join(&mut first, "b").await, "joined", "it is in it");
    assert_eq!(join(&mut first, "c").await, "error");
    assert_eq!(poll("room=a", "192.0.2.1").await, busy, "whoever else is in the room");
    let left = first.command(&serde_json::json!({"type": "leave", "ref": 2, "room": "b"})).await;
    assert_eq!(left["type"], "left");
    assert_eq!(join(&mut first, "c").await, "joined");
    drop((first, second));
    server.until_sessions(0, SOON).await;
    assert_eq!(poll("room=a&room=b&room=c", "192.0.2.1").await, good);
}

#[tokio::test]
async fn an_address_has_only_so_many_sessions_and_a_network_of_ipv6_is_one() {
    let server = behind_a_proxy(limited(|limits| limits.address_sessions = 2)).await;
    for (mine, as_well, others) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::1", "2001:db8:0:2::1"),
    ] {
        let line = |ip: &str| format!("X-Forwarded-For: {ip}");
        let ask = async |kind, ip: &str| open(server.address(), kind, &[&line(ip)]).await;
        let held = [ask(Kind::Ws, mine).await, ask(Kind::Sse, as_well).await];
        for kind in Kind::ALL {
            // What stands before it is the client's own invention.
            for ip in [mine, as_well, &format!("203.0.113.9, {mine}")] {
                let refused = code(ask(kind, ip).await).await;
                assert_eq!(refused, (429, "too_many_sessions".to_owned(), "10".to_owned()), "{kind:?} {ip}");
            }
            assert!(status(&ask(kind, others).await.1) < 300, "{kind:?} of another");
        }
        server.until_sessions(2, SOON).await;
        drop(held);
        server.until_sessions(0, SOON).await;
        assert_eq!(status(&ask(Kind::Ws, mine).await.1), 101);
        server.until_sessions(0, SOON).await;
    }
}

#[tokio::test]
async fn what_nobody_trusted_says_of_addresses_is_not_believed() {
    let hub = || limited(|limits| limits.address_sessions = 1);
    let other = Proxies::x_forwarded_for().trust("192.0.2.0/24").expect("a network");
    let forwarded = Proxies::forwarded().trust("127.0.0.0/8").expect("a network");
    for service in [
        tidings::service(hub()),
        tidings::service(hub()).proxies(other),
        tidings::service(hub()).proxies(forwarded),
    ] {
        let server = Server::with_service(service).await;
        // All count as this machine's own, which are not counted.
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(open(server.address(), Kind::Ws, &["X-Forwarded-For: 192.0.2.1"]).await);
        }
        assert!(held.iter().all(|(_, head)| status(head) == 101));
    }
}

#[tokio::test]
async fn a_gate_is_told_the_address_of_the_client() {
    struct Address(tokio::sync::mpsc::UnboundedSender<Option<tidings::Peer>>);
    impl Gate for Address {
        fn connect<'a>(&'a self, head: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
            self.0.send(tidings::Peer::of(head)).expect("the test waits");
            Box::pin(std::future::ready(Ok(Identity::anonymous())))
        }
    }
    let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = behind_a_proxy(Hub::builder().gate(Address(told)).build()).await;
    for (headers, ip) in [
        (&["X-Forwarded-For: 6.6.6.6, 2001:db8::7"][..], "2001:db8::7"),
        (&["X-Forwarded-For: 6.6.6.6, nobody"], "127.0.0.1"),
        (&[], "127.0.0.1"),
    ] {
        request(server.address(), "GET", "/realtime/poll?room=a", headers, "").await.expect("an answer");
        let peer = seen.recv().await.expect("asked").expect("known");
        assert_eq!(peer.ip().map(|ip| ip.to_string()).as_deref(), Some(ip));
    }
}

#[tokio::test]
async fn a_user_has_only_so_many_sessions() {
    let server = Server::with_hub(limited(|limits| limits.user_sessions = 2)).await;
    let address = server.address();
    let ann = ["user: ann"];
    let held = [open(address, Kind::Ws, &ann).await, open(address, Kind::Sse, &ann).await];
    for kind in Kind::ALL {
        let refused = code(open(address, kind, &ann).await).await;
        assert_eq!(refused, (429, "too_many_sessions".to_owned(), "10".to_owned()), "{kind:?}");
        assert!(status(&open(address, kind, &["user: bob"]).await.1) < 300);
        assert!(status(&open(address, kind, &[]).await.1) < 300, "nobody in particular is many");
    }
    drop(held);
    server.until_sessions(0, SOON).await;
    assert_eq!(status(&open(address, Kind::Ws, &ann).await.1), 101);
}

#[tokio::test]
async fn only_so_many_polls_wait() {
    let server = Server::with_hub(limited(|limits| limits.polls = 2)).await;
    let address = server.address();
    let first = request(address, "GET", "/realtime/poll?room=a", &[], "").await.expect("an answer");
    let cursor = first.json()["cursor"].as_str().expect("a cursor").to_owned();
    let target = format!("/realtime/poll?room=a&cursor={cursor}");
    let polls: Vec<_> = (0..2)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move { request(address, "GET", &target, &[], "").await })
        })
        .collect();
    server.until_sessions(2, SOON).await;
    let refused = request(address, "GET", &target, &[], "").await.expect("an answer");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("busy")));
    assert_eq!(status(&open(address, Kind::Sse, &[]).await.1), 200, "a stream is none");
    server.publish("a", 1).await;
    for poll in polls {
        assert_eq!(poll.await.expect("no panic").expect("an answer").status, 200);
    }
    let free = request(address, "GET", &target, &[], "").await.expect("an answer");
    assert_eq!(free.status, 200);
}

/// Serves with what only a server can be told.
async fn serve(service: Service, set: impl FnOnce(tidings::Serve) -> tidings::Serve) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    tokio::spawn(set(tidings::serve(listener, service)).into_future());
    address
}

/// What a connection that says nothing hears within a while; none if that is nothing.
async fn hears(stream: &mut TcpStream) -> Option<usize> {
    let mut byte = [0];
    // A reset says the same as an end.
    let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
    read.ok().map(|read| read.unwrap_or(0))
}

#[tokio::test]
async fn connections_that_are_too_many_are_closed_unread_and_one_that_goes_makes_place() {
    let address = serve(tidings::service(limited(|_| {})), |serve| serve.connections(2)).await;
    // One that stays with what has taken it over, and one that says nothing.
    let (ws, head) = open(address, Kind::Ws, &[]).await;
    assert_eq!(status(&head), 101);
    let mut silent = TcpStream::connect(address).await.expect("connected");
    assert_eq!(hears(&mut silent).await, None);
    for _ in 0..3 {
        let mut refused = TcpStream::connect(address).await.expect("the system takes it");
        assert_eq!(within(SOON, "the end", hears(&mut refused)).await, Some(0));
    }
    drop(ws);
    within(SOON, "a place", async {
        loop {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            if hears(&mut stream).await.is_none() {
                return;
            }
        }
    })
    .await;
    // Another that goes, without having said anything.
    drop(silent);
    within(SOON, "a place", async {
        while request(address, "GET", "/realtime/poll?room=a", &[], "").await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_are_taken_no_faster_than_was_said() {
    let accepts = Rate::per_second(20).burst(2);
    let address = serve(tidings::service(limited(|_| {})), |serve| serve.accepts(accepts)).await;
    let begin = Instant::now();
    let asking: Vec<_> =
        (0..12).map(|_| tokio::spawn(request(address, "GET", "/realtime/poll?room=a", &[], ""))).collect();
    for asked in asking {
        assert_eq!(asked.await.expect("no panic").expect("let in after a while").status, 200);
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(480), "two at once and ten in {took:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_given_up() {
    let mut limits = Limits::default();
    (limits.idle, limits.heartbeat) = (Duration::from_millis(300), Duration::from_millis(100));
    let rooms = Rooms::log(100, SOON);
    let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).limits(limits).build();
    hub.publish("a", Event::json("large", &"x".repeat(1_000_000)).expect("JSON")).await.expect("published");
    let address = serve(tidings::service(hub), |serve| serve.connections(1)).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut stuck = socket.connect(address).await.expect("connected");
    let asking = b"GET /realtime/poll?room=a&from=start HTTP/1.1\r\nHost: tidings\r\n\r\n";
    stuck.write_all(asking).await.expect("sent");
    assert!(answer(&mut stuck).await.expect("an answer").starts_with("HTTP/1.1 200"));
    within(SOON, "its place", async {
        loop {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            if hears(&mut stream).await.is_none() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_pulled_and_takes_nothing_gives_its_session_up() {
    let mut limits = Limits::default();
    (limits.idle, limits.heartbeat) = (Duration::from_millis(300), Duration::from_millis(100));
    let rooms = Rooms::log(2_000, SOON);
    let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).limits(limits).build();
    let server = Server::with_hub(hub).await;
    // HTTP/1.0 does not leave hyper.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut stuck = socket.connect(server.address()).await.expect("connected");
    stuck.write_all(b"GET /realtime/sse?room=a HTTP/1.0\r\n\r\n").await.expect("sent");
    assert!(answer(&mut stuck).await.expect("an answer").starts_with("HTTP/1.0 200"));
    server.until_sessions(1, SOON).await;
    // One that takes what there is stays, however little that is.
    let mut healthy = Client::connect(Kind::Sse, server.address(), "b", "now").await.expect("let in");
    for _ in 0..100 {
        let event = Event::json("large", &"x".repeat(64 << 10)).expect("JSON");
        server.hub().publish("a", event).await.expect("published");
    }
    server.until_sessions(1, SOON).await;
    assert!(server.hub().stats().slow >= 1);
    server.publish("b", 1).await;
    assert_eq!(healthy.number().await, 1);
}

/// A poll that waits reads no body, and neither does a gate that takes its time.
#[tokio::test]
async fn of_a_body_that_nobody_reads_an_http2_client_keeps_all_but_a_little() {
    const CHUNK: usize = 8 << 10;
    const ASKED_FOR: usize = 64 << 10;
    let server = Server::start().await;
    let target = format!("http://{}/realtime/poll?room=a", server.address());
    let cursor = server.publish("a", 1).await;
    let stream = TcpStream::connect(server.address()).await.expect("connected");
    let (mut asker, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = Arc::clone(&sent);
    let endless = stream::repeat_with(move || {
        sending.fetch_add(CHUNK, Relaxed);
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; CHUNK])))
    });
    let waiting = http::Request::get(format!("{target}&cursor={cursor}&wait=60"));
    let waiting = waiting.body(StreamBody::new(endless.boxed())).expect("a request");
    let waiting = tokio::spawn(asker.send_request(waiting));
    // Others on the same connection are answered meanwhile, until no more of it comes.
    let mut before = usize::MAX;
    while before != sent.load(Relaxed) {
        before = sent.load(Relaxed);
        for _ in 0..20 {
            let body = StreamBody::new(stream::empty().boxed());
            let request = http::Request::get(&target).body(body).expect("a request");
            let answer = within(SOON, "an answer", asker.send_request(request)).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            within(SOON, "a body", answer.into_body().collect()).await.expect("a body");
        }
    }
    assert!((ASKED_FOR..=ASKED_FOR + CHUNK).contains(&before), "{before} bytes were sent");
    server.publish("a", 2).await;
    let answer = within(SOON, "the poll", waiting).await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
}
