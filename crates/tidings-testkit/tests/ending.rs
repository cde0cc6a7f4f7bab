//! The end of a server: every client is told, also one that comes in the last moment, and the end does not wait for
//! what is not a client.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::{Duration, Instant};
use tidings::{From, Gate, Hub, Identity, RoomName, gate};
use tidings_testkit::{Client, Heard, Kind, RawSocket, raw, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};

const SOON: Duration = Duration::from_secs(5);

/// Lets nobody in before it is told to.
struct Late(std::sync::Arc<Notify>);

impl Gate for Late {
    fn connect<'a>(&'a self, _: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        Box::pin(async move {
            if room.as_str() == "late" {
                self.0.notified().await;
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_told_and_the_server_ends_soon() {
    let open = std::sync::Arc::new(Notify::new());
    let hub = Hub::builder().gate(Late(open.clone())).build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tidings::serve(listener, tidings::service(hub.clone())).until(async {
        // Dropping the sender would stop it as well.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    // The application's own subscription is no client to wait for.
    let mut inside = hub.subscribe("r", From::Now).await.expect("let in");
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, address, "r", "now").await.expect("let in"));
    }
    let late = tokio::spawn(async move { Client::connect(Kind::Sse, address, "late", "now").await });
    within(SOON, "the late one at the gate", async {
        while hub.stats().sessions.get("sse") != Some(&2) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let begin = Instant::now();
    stop.send(()).expect("the server runs");
    within(SOON, "the drain", async {
        while hub.ready().is_ok() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    open.notify_waiters();
    for mut client in clients {
        let heard = within(SOON, "the close", client.next()).await;
        if let Some(Heard::Other(value)) = &heard {
            assert_eq!((&value["type"], &value["code"]), (&"close".into(), &"drain".into()));
            assert!(value["retry"][0].as_u64() < value["retry"][1].as_u64(), "{value}");
        } else {
            // A poll that was between two requests finds nobody.
            assert!(heard.is_none(), "{heard:?}");
        }
    }
    let mut late = within(SOON, "the late one", late).await.expect("no panic").expect("let in");
    assert!(matches!(within(SOON, "the close", late.next()).await, Some(Heard::Other(_))));
    within(SOON, "the inside to end, once the clients have", inside.next()).await;
    within(SOON, "the end", server).await.expect("no panic").expect("no error");
    println!("ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_what_they_were_asked() {
    let hub = Hub::builder().gate(gate::open()).build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = tidings::service(hub.clone()).ready("/ready");
    let server = tidings::serve(listener, service).until(async {
        // Dropping the sender would stop it as well.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    // This one holds the end up.
    let mut socket = RawSocket::connect(address, "/realtime/ws?room=r", &[]).await;
    let mut kept = TcpStream::connect(address).await.expect("connected");
    kept.write_all(b"GET /ready HTTP/1.1\r\nHost: tidings\r\n\r\n").await.expect("sent");
    assert!(raw::answer(&mut kept).await.expect("an answer").starts_with("HTTP/1.1 200"));
    let mut fresh = TcpStream::connect(address).await.expect("connected");
    fresh.write_all(b"GET /rea").await.expect("sent");
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut asker, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("http://{address}/realtime/sse?room=r"));
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let stream = asker.send_request(request).await.expect("an answer").into_body();

    stop.send(()).expect("the server runs");
    let mut rest = Vec::new();
    within(SOON, "the end of an idle one", kept.read_to_end(&mut rest)).await.expect("a good end");
    within(SOON, "the end of a stream", stream.collect()).await.expect("a good end");
    within(SOON, "the end of its connection", connection).await.expect("no panic").expect("a good end");
    // What has begun is answered.
    fresh.write_all(b"dy HTTP/1.1\r\nHost: tidings\r\n\r\n").await.expect("sent");
    let head = raw::answer(&mut fresh).await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503") && raw::field(&head, "connection") == Some("close"), "{head}");
    assert!(hub.stats().sessions.contains_key("ws"), "all of that was before the end");
    let mut silent = TcpStream::connect(address).await.expect("connected");
    assert_eq!(socket.close_code().await, 1012);
    drop(socket);
    within(Duration::from_secs(1), "the end", server).await.expect("no panic").expect("no error");
    let end = within(SOON, "the end of who was silent", silent.read(&mut [0])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
