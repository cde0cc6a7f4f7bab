use super::*;
use crate::{encode::Ws, frame::put_text, stream::Upgraded};
use bytes::{Bytes, BytesMut};
use http_body_util::Empty;
use hyper::{Request, Response, StatusCode, body::Incoming as Received, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Wake, Waker},
    time::Duration,
};
use tidings_core::{Event, From, Identity, RoomName, gate};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

/// A stream that hyper has handed over, and its other end. It holds `buffer` bytes.
async fn upgraded(buffer: usize) -> (Io, DuplexStream) {
    let (server, mut wire) = duplex(buffer);
    let (give, mut given) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Received>| {
        let give = give.clone();
        tokio::spawn(async move { give.send(hyper::upgrade::on(request).await.unwrap()).unwrap() });
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        async { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    tokio::spawn(serving.with_upgrades());
    wire.write_all(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await.unwrap());
    }
    (Upgraded::new(given.recv().await.unwrap()).0.into_io(), wire)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_and_ends_its_half_at_once_gets_what_is_under_way() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Ws::shared(None), Identity::anonymous(), None).unwrap();
    session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
    hub.publish("r", Event::json("n", &"x".repeat(8 << 10)).unwrap()).await.unwrap();
    // The client takes nothing yet, so all of it waits.
    let (server, mut wire) = upgraded(16).await;
    let connection = tokio::spawn(Connection::new(server, &[], session, &hub, false));
    let mut close = BytesMut::new();
    put_close(CloseCode::Normal, "", Some([1, 2, 3, 4]), &mut close);
    wire.write_all(&close).await.unwrap();
    wire.shutdown().await.unwrap();
    tokio::task::yield_now().await;
    let mut all = Vec::new();
    wire.read_to_end(&mut all).await.unwrap();
    connection.await.unwrap();
    assert!(all.len() > 8 << 10, "{} bytes", all.len());
    assert!(all.ends_with(b"\x88\x02\x03\xe8"), "the close frame is answered");
}

/// What tokio keeps of a task comes to 104 bytes more, and the whole to a multiple of 128.
#[cfg(target_pointer_width = "64")]
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() + 104 <= 384, "{}", size_of::<Connection>());
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[tokio::test]
async fn a_peer_that_always_has_something_to_say_leaves_others_their_turn() {
    const PINGS: usize = 4 << 20;
    let hub = Hub::builder().gate(gate::open()).build();
    let session = hub.attach(Ws::shared(None), Identity::anonymous(), None).unwrap();
    let (server, mut wire) = upgraded(PINGS).await;
    let mut connection = Connection::new(server, &[], session, &hub, false);
    let mut ping = BytesMut::new();
    put_ping(b"", Some([1, 2, 3, 4]), &mut ping);
    let pings = ping.repeat(PINGS / ping.len());
    wire.write_all(&pings).await.unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(connection.step(&mut cx).is_pending());
    assert!(woken.0.load(SeqCst), "it goes on after the others");
    let read = Pin::new(&mut wire).poll_write(&mut cx, &pings);
    let Poll::Ready(Ok(read)) = read else { panic!("{read:?}") };
    assert!(read <= 1 << 20, "{read} bytes were taken in one turn");
}

#[tokio::test]
async fn a_stream_that_the_hub_cannot_write_to_finds_what_is_published_in_its_tray_and_answers_after_it() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Ws::shared(None), Identity::anonymous(), None).unwrap();
    session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
    let (server, mut wire) = upgraded(64 << 10).await;
    let mut connection = Connection::new(server, &[], session, &hub, false);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let step = async |connection: &mut Connection, cx: &mut Context<'_>| {
        while !woken.0.swap(false, SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(connection.step(cx).is_pending());
        assert!(connection.session.is_lent(), "there is nothing else to do");
    };
    assert!(connection.step(&mut cx).is_pending());
    let pulled = hub.stats().pulled.messages;
    for number in 1..=3 {
        hub.publish("r", Event::json("n", &number).unwrap()).await.unwrap();
        step(&mut connection, &mut cx).await;
    }
    // Both are there when it looks.
    hub.publish("r", Event::json("n", &4).unwrap()).await.unwrap();
    while !woken.0.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let mut ping = BytesMut::new();
    put_text(r#"{"type":"ping"}"#, Some([1, 2, 3, 4]), &mut ping);
    wire.write_all(&ping).await.unwrap();
    step(&mut connection, &mut cx).await;
    hub.publish("r", Event::json("n", &5).unwrap()).await.unwrap();
    step(&mut connection, &mut cx).await;

    let after = hub.stats();
    assert_eq!((after.direct.messages, after.pulled.messages), (5, pulled));
    drop(connection);
    let mut all = Vec::new();
    wire.read_to_end(&mut all).await.unwrap();
    let all = String::from_utf8_lossy(&all);
    let words =
        [r#""joined""#, r#""data":1"#, r#""data":2"#, r#""data":3"#, r#""data":4"#, "pong", r#""data":5"#];
    let places: Vec<_> = words.iter().map(|word| all.find(word).expect(word)).collect();
    assert!(places.is_sorted(), "{all}");
}

#[tokio::test]
async fn who_is_never_done_with_what_is_left_hears_that_it_is_out_of_a_room() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Ws::shared(None), Identity::user("u"), None).unwrap();
    session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
    // It holds less than a message.
    let (server, mut wire) = upgraded(32).await;
    let mut connection = Connection::new(server, &[], session, &hub, false);
    let mut cx = Context::from_waker(Waker::noop());
    let publish = async |number: u64| {
        hub.publish("r", Event::json("n", &number).unwrap()).await.unwrap();
        // Whoever serves the room takes a turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    let mut all = Vec::new();
    let heard = |all: &[u8], word: &str| String::from_utf8_lossy(all).contains(word);
    // Reads what there is, a little at a time, until a word has come; without one until nothing comes.
    let mut until = async |connection: &mut Connection, all: &mut Vec<u8>, word: Option<&str>| {
        loop {
            assert!(connection.step(&mut cx).is_pending());
            if word.is_some_and(|word| heard(all, word) || heard(all, "forbidden")) {
                return;
            }
            tokio::select! {
                biased;
                read = wire.read_buf(all) => assert!(read.unwrap() > 0),
                () = std::future::ready(()) => return assert!(word.is_none(), "{}", String::from_utf8_lossy(all)),
            }
        }
    };
    until(&mut connection, &mut all, None).await;
    publish(1).await;
    until(&mut connection, &mut all, Some(r#""type":"event""#)).await;
    let mut number = 1;
    while !heard(&all, "forbidden") {
        assert!(number < 20, "it is still in the room: {}", String::from_utf8_lossy(&all));
        // Before it is done with one, the next is there.
        publish(number + 1).await;
        until(&mut connection, &mut all, Some(&format!(r#""data":{number}"#))).await;
        if number == 5 {
            assert!(connection.session.is_lent());
            hub.revoke("u", "r").await.unwrap();
        }
        number += 1;
    }
    assert!((6..10).contains(&number), "{number}");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_published_follows_our_close_frame() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Ws::shared(None), Identity::anonymous(), None).unwrap();
    session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
    let (server, mut wire) = upgraded(64 << 10).await;
    let connection = tokio::spawn(Connection::new(server, &[], session, &hub, false));
    // A message that is begun and not ended, while the session is lent.
    let mut text = BytesMut::new();
    put_text(&"x".repeat(32 << 10), Some([1, 2, 3, 4]), &mut text);
    wire.write_all(&text[..20 << 10]).await.unwrap();
    let (mut all, last) = (Vec::new(), b"a message took too long to come");
    while !all.ends_with(last) {
        assert!(wire.read_buf(&mut all).await.unwrap() > 0, "the close frame");
    }
    hub.publish("r", Event::json("n", &1).unwrap()).await.unwrap();
    wire.read_to_end(&mut all).await.unwrap();
    connection.await.unwrap();
    assert!(all.ends_with(last), "{}", String::from_utf8_lossy(&all));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_after_the_word_that_the_session_ends() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Ws::shared(None), Identity::anonymous(), None).unwrap();
    session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
    // The client takes nothing yet, and asks for more than is answered at once.
    let (server, mut wire) = upgraded(16).await;
    let mut pings = BytesMut::new();
    for _ in 0..40 {
        put_text(r#"{"type":"ping"}"#, Some([1, 2, 3, 4]), &mut pings);
    }
    let connection = tokio::spawn(Connection::new(server, &pings, session, &hub, false));
    tokio::task::yield_now().await;
    assert_eq!(hub.drain(Duration::ZERO).await, 1, "the time is up");
    let mut all = Vec::new();
    wire.read_to_end(&mut all).await.unwrap();
    connection.await.unwrap();
    let all = String::from_utf8_lossy(&all);
    let (answers, rest) = all.split_once(r#""type":"close""#).expect("the word");
    assert!(answers.contains("pong"), "{answers}");
    assert!(!rest.contains("pong"), "{rest}");
}
