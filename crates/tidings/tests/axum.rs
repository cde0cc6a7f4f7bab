//! The service inside an axum application: every transport, beside ordinary routes.
#![cfg(feature = "axum")]

use axum::{Router, body::Body, extract::ConnectInfo, http::Response, middleware, routing::get};
use bytes::Bytes;
use futures_util::Stream as _;
use http_body::Frame;
use http_body_util::BodyExt;
use std::{
    future::{Future, ready},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tidings::{
    Denied, Event, Gate, Hub, Identity, Limits, Peer,
    axum::{Connection, Listener, with_address},
    gate::{self, Decision, RequestHead},
};
use tidings_testkit::{Client, Kind, request, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

fn app(hub: &Hub) -> Router {
    let hello = async |ConnectInfo(connection): ConnectInfo<Connection>| {
        format!("hello {}", connection.address().ip())
    };
    Router::new()
        .route("/", get("hello"))
        .route("/hello", get(hello))
        .nest_service("/realtime", tidings::service(hub.clone()))
}

/// With connections that the hub can write to.
async fn serve(app: Router) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let app = app.into_make_service_with_connect_info::<Connection>();
    (address, tokio::spawn(axum::serve(Listener::from(listener), app).into_future()))
}

async fn talk_over_every_transport(hub: &Hub, address: SocketAddr) {
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, address, "r", "now").await.expect("let in"));
    }
    for number in 1..100 {
        say(hub, "r", number).await;
        for client in &mut clients {
            assert_eq!(client.number().await, number);
        }
    }
    for client in &mut clients {
        let reply = client.publish("n", 100.into(), None).await;
        assert_eq!(reply["type"], "reply", "{reply}");
    }
    drop(clients);
    within(Duration::from_secs(1), "all are gone", hub.vacant()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_works_below_a_prefix_of_an_axum_router() {
    let hub = Hub::builder().gate(gate::open()).build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app(&hub)).into_future());
    assert_eq!(request(address, "GET", "/", &[], "").await.unwrap().body, "hello");
    assert_eq!(request(address, "GET", "/realtime/nothing", &[], "").await.unwrap().status, 404);
    talk_over_every_transport(&hub, address).await;
    server.abort();
}

/// What came on a connection, up to and with `what`.
async fn until(stream: &mut (impl AsyncRead + Unpin), what: &str) -> String {
    let mut came = Vec::new();
    let reading = async {
        while !came.ends_with(what.as_bytes()) {
            came.push(stream.read_u8().await.expect("a connection"));
        }
    };
    within(Duration::from_secs(10), what, reading).await;
    String::from_utf8(came).expect("text")
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), path: &str) {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
        .await
        .expect("a connection");
}

async fn say(hub: &Hub, room: &str, number: u64) {
    let event = Event::json("n", &number).expect("a number is JSON");
    hub.publish(room, event).await.expect("the broker takes it");
}

/// A layer that looks at the bodies of answers, or changes them.
fn with_bodies(app: Router, see: impl Fn(Bytes) -> Bytes + Clone + Send + Sync + 'static) -> Router {
    app.layer(middleware::map_response(move |response: Response<Body>| {
        let see = see.clone();
        let change = move |frame: Frame<Bytes>| frame.map_data(&see);
        async move { response.map(|body| Body::new(body.map_frame(change))) }
    }))
}

/// What is written past the server is in chunks like its own, the answer has an end, and the connection goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_goes_past_an_axum_server_and_the_next_answer_follows() {
    let hub = Hub::builder().gate(gate::open()).build();
    let frames = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&frames);
    let counted = with_bodies(app(&hub), move |data| {
        seen.fetch_add(1, Relaxed);
        data
    });
    let (address, server) = serve(counted).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for round in 0..3 {
        let room = format!("r{round}");
        ask(&mut stream, &format!("/realtime/sse?room={room}")).await;
        until(&mut stream, "retry: ").await;
        for number in 0..100 {
            say(&hub, &room, number).await;
            until(&mut stream, &format!("data: {number}\n\n\r\n")).await;
        }
        hub.publish(&*room, Event::json("n", "bye").unwrap().last()).await.unwrap();
        until(&mut stream, "data: \"bye\"\n\n\r\n").await;
        until(&mut stream, "\r\n0\r\n\r\n").await;
        assert_eq!(frames.swap(0, Relaxed), 1, "of an event stream the server has what it begins with");
        ask(&mut stream, "/hello").await;
        until(&mut stream, "hello 127.0.0.1").await;
        frames.store(0, Relaxed);
    }
    ask(&mut stream, "/realtime/sse?room=r").await;
    until(&mut stream, "retry: ").await;
    drop(stream);
    within(Duration::from_secs(1), "it is gone", hub.vacant()).await;
    server.abort();
}

/// A layer that changes what a stream begins with is noticed; for one that does not, the service keeps to the server.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_changed_on_the_way_go_through_an_axum_server() {
    let hub = Hub::builder().gate(gate::open()).build();
    let loud = |data: Bytes| Bytes::from(data.to_ascii_uppercase());
    let loud_events = move |data: Bytes| if data.starts_with(b":") { data } else { loud(data) };
    let keeping = Router::new().nest_service("/realtime", tidings::service(hub.clone()).through_server());
    for (app, begins) in
        [(with_bodies(app(&hub), loud), "RETRY: "), (with_bodies(keeping, loud_events), "retry: ")]
    {
        let (address, server) = serve(app).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, "/realtime/sse?room=r").await;
        until(&mut stream, begins).await;
        for number in 0..10 {
            hub.publish("r", Event::json("loud", &format!("is {number}")).unwrap()).await.unwrap();
            until(&mut stream, &format!("DATA: \"IS {number}\"\n\n\r\n")).await;
        }
        drop(stream);
        within(Duration::from_secs(1), "it is gone", hub.vacant()).await;
        server.abort();
    }
}

/// What a layer adds could come into the middle of what the hub has written in part: rather the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_whose_body_is_added_to_while_it_is_written_past_an_axum_server() {
    let hub = Hub::builder().gate(gate::open()).build();
    let more = Arc::new(Notify::new());
    let added = Arc::clone(&more);
    let app = app(&hub).layer(middleware::map_response(move |response: Response<Body>| {
        let (mut notified, mut done) = (Box::pin(Arc::clone(&added).notified_owned()), false);
        async move {
            response.map(|body| {
                let mut body = body.into_data_stream();
                Body::from_stream(futures_util::stream::poll_fn(move |cx| {
                    if !done && notified.as_mut().poll(cx).is_ready() {
                        done = true;
                        return Poll::Ready(Some(Ok(Bytes::from_static(b": mine\n\n"))));
                    }
                    Pin::new(&mut body).poll_next(cx)
                }))
            })
        }
    }));
    let (address, server) = serve(app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "/realtime/sse?room=r").await;
    until(&mut stream, "retry: ").await;
    say(&hub, "r", 1).await;
    until(&mut stream, "data: 1\n\n\r\n").await;
    more.notify_waiters();
    let mut rest = String::new();
    let reading = async { stream.read_to_string(&mut rest).await.ok() };
    within(Duration::from_secs(10), "the connection ends", reading).await;
    assert_eq!(rest, "");
    within(Duration::from_secs(1), "it is gone", hub.vacant()).await;
    server.abort();
}

/// Only the body's end and the head of the next answer tell where an answer ends; whatever was asked for in between waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_an_event_stream_is_answered_when_that_has_ended() {
    let hub = Hub::builder().gate(gate::open()).build();
    let (address, server) = serve(app(&hub)).await;
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    ask(&mut stream, "/realtime/sse?room=r").await;
    ask(&mut stream, "/hello").await;
    until(&mut stream, "retry: ").await;
    let much = "x".repeat(30_000);
    for _ in 0..100 {
        // More than the connection takes at once, so that messages are cut.
        hub.publish("r", Event::json("much", &much).unwrap()).await.unwrap();
    }
    hub.publish("r", Event::json("n", "bye").unwrap().last()).await.unwrap();
    let came = until(&mut stream, "hello 127.0.0.1").await;
    assert_eq!(came.matches(&format!("data: \"{much}\"\n\n\r\n")).count(), 100);
    let end = came.find("\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n").expect("an end, and the next answer");
    assert!(end > came.rfind("bye").unwrap());
    server.abort();
}

/// To a client that knows no chunks none are written.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_of_http_1_0_goes_through_an_axum_server() {
    let hub = Hub::builder().gate(gate::open()).build();
    let (address, server) = serve(app(&hub)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /realtime/sse?room=r HTTP/1.0\r\n\r\n").await.unwrap();
    until(&mut stream, "retry: ").await;
    for number in 0..3 {
        say(&hub, "r", number).await;
        let came = until(&mut stream, &format!("data: {number}\n\n")).await;
        assert!(!came.contains('\r'), "{came:?}");
    }
    server.abort();
}

/// A handler that asks the service itself, and reads what it answers before it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_reads_the_first_event_of_a_stream() {
    let hub = Hub::builder().gate(gate::open()).build();
    say(&hub, "r", 7).await;
    let service = tidings::service(hub.clone());
    let first = async move |mut request: axum::extract::Request| {
        *request.uri_mut() = "/realtime/sse?room=r&from=start".parse().unwrap();
        let mut body = service.answer(request).await.into_body();
        let mut text = String::new();
        while !text.contains("data: 7\n") {
            let frame = body.frame().await.unwrap().unwrap();
            text.push_str(str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        text
    };
    let (address, server) = serve(Router::new().route("/first", get(first))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "/first").await;
    let came = until(&mut stream, "data: 7\n\n").await;
    assert!(came.contains("content-length: "), "it is plain: {came}");
    server.abort();
}

/// Who asks for the connection to end gets the end of the answer, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_to_close_does_so_when_its_event_stream_has_ended() {
    let hub = Hub::builder().gate(gate::open()).build();
    let (address, server) = serve(app(&hub)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /realtime/sse?room=r HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    until(&mut stream, "retry: ").await;
    say(&hub, "r", 1).await;
    until(&mut stream, "data: 1\n\n\r\n").await;
    hub.publish("r", Event::json("n", "bye").unwrap().last()).await.unwrap();
    let mut rest = String::new();
    within(Duration::from_secs(10), "the end", stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("data: \"bye\"\n\n\r\n") && rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
    server.abort();
}

/// A client that takes nothing is given up, and its connection with it, though the server would keep that.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_what_goes_past_an_axum_server_is_given_up() {
    let mut limits = Limits::default();
    limits.idle = Duration::from_secs(1);
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    let (address, server) = serve(app(&hub)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "/realtime/sse?room=r").await;
    until(&mut stream, "retry: ").await;
    let much = "x".repeat(60_000);
    let filling = async {
        while hub.stats().sessions.values().sum::<usize>() > 0 {
            hub.publish("r", Event::json("much", &much).unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(Duration::from_secs(30), "it is given up", filling).await;
    let mut rest = Vec::new();
    // Reset or ended: in no case more is to come.
    let reading = async { stream.read_to_end(&mut rest).await.ok() };
    within(Duration::from_secs(10), "the connection ends", reading).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an end that is none");
    server.abort();
}

/// Lets in who comes from this machine.
struct FromHere;

impl Gate for FromHere {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let here = Peer::of(head) == Some(Peer::at(Ipv4Addr::LOCALHOST.into()));
        let denied = || Err(Denied::forbidden("not from here"));
        Box::pin(ready(if here { Ok(Identity::anonymous()) } else { denied() }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_knows_where_clients_of_an_axum_server_are() {
    let hub = Hub::builder().gate(FromHere).build();
    let where_from = async |ConnectInfo(address): ConnectInfo<SocketAddr>| address.ip().to_string();
    let app = app(&hub).route("/from", get(where_from)).layer(middleware::map_request(with_address));
    let (address, server) = serve(app).await;
    assert_eq!(request(address, "GET", "/from", &[], "").await.unwrap().body, "127.0.0.1");
    for kind in Kind::ALL {
        Client::connect(kind, address, "r", "now").await.unwrap();
    }
    server.abort();
}
