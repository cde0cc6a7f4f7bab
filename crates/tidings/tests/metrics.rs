//! What a recorder is told: as many series whoever comes, and no word of theirs.
#![cfg(feature = "metrics")]

use bytes::BytesMut;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tidings::{
    Denied, Encoder, Event, From, Gate, Hub, Identity, Json, Limits, Notice, Proxies, Rate, RoomName, Rooms,
    Service, Session, Standing, Transport, gate,
};
use tidings_testkit::{Client, Heard, Kind, RawSocket, Server, raw::masked, request, within};

const SOON: Duration = Duration::from_secs(10);
/// What a scrape may take.
const SCRAPE: Duration = Duration::from_millis(50);

/// Users are who they say.
struct Named;

impl Gate for Named {
    fn connect<'a>(&'a self, head: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        let name = head.uri.query().unwrap_or_default().rsplit('=').next().unwrap_or_default();
        Box::pin(async move { Ok(Identity::user(name)) })
    }
}

fn service() -> Service {
    let mut limits = Limits::default();
    limits.node_rooms = 200_000;
    let hub = Hub::builder()
        .gate(Named)
        .limits(limits)
        .rooms("news", Rooms::log(2, Duration::from_secs(60)))
        .rooms("price:*", Rooms::latest())
        .build();
    tidings::service(hub).ready("/ready")
}

/// Lines of a scrape that are no comments.
fn scrape(service: &Service) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || tidings::metrics::record(service));
    let text = recorder.handle().render();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn value(lines: &[String], series: &str) -> f64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {lines:#?}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let service = service();
    let server = Server::with_service(service.clone()).await;
    let hub = server.hub();
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, server.address(), "news", "now").await.expect("let in"));
    }
    let event = || Event::json("n", &7).expect("a number is JSON");
    for _ in 0..3 {
        hub.publish("news", event()).await.expect("stored");
        for client in &mut clients {
            assert_eq!(client.number().await, 7);
        }
    }
    let answer = request(server.address(), "GET", "/realtime/sse?room=", &[], "").await.expect("an answer");
    assert_eq!(answer.status, 400);
    // Of this history nothing is left.
    let behind = hub.publish("news", event()).await.expect("stored").to_string();
    for _ in 0..3 {
        hub.publish("news", event()).await.expect("stored");
    }
    let mut late = Client::connect(Kind::Ws, server.address(), "news", &behind).await.expect("let in");
    assert!(matches!(within(SOON, "a gap", late.next()).await, Some(Heard::Gap { .. })));
    let bad = serde_json::json!({"type": "call", "ref": 1, "method": "no"});
    late.command(&bad).await;
    hub.publish("price:gold", event()).await.expect("stored");

    let lines = scrape(&service);
    let check = |series: &str, expected: f64| assert_eq!(value(&lines, series), expected, "{series}");
    check("tidings_ready", 1.0);
    check("tidings_sessions{transport=\"ws\"}", 2.0);
    check("tidings_sessions{transport=\"sse\"}", 1.0);
    check("tidings_published_total{class=\"news\"}", 7.0);
    check("tidings_published_total{class=\"price:*\"}", 1.0);
    check("tidings_rooms{class=\"news\"}", 1.0);
    check("tidings_joins_total{from=\"missed\"}", 1.0);
    check("tidings_joins_total{from=\"start\"}", 0.0);
    check("tidings_gaps_total{reason=\"trimmed\"}", 1.0);
    check("tidings_refusals_total{code=\"unknown_method\"}", 1.0);
    check("tidings_answers_total{status=\"400\"}", 1.0);
    check("tidings_answers_total{status=\"101\"}", 2.0);
    assert!(value(&lines, "tidings_joins_total{from=\"now\"}") >= 3.0);
    let path = |path| value(&lines, &format!("tidings_messages_total{{path=\"{path}\"}}"));
    // At least what was waited for: three at each of the three, and not more than all that were published.
    let delivered = path("direct") + path("pulled");
    assert!((9.0..=30.0).contains(&delivered), "{delivered}");
    assert!(value(&lines, "tidings_lag_seconds_count") >= 3.0);
    let infinite = value(&lines, "tidings_lag_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(infinite, value(&lines, "tidings_lag_seconds_count"));
    assert!(value(&lines, "tidings_connections") >= 3.0);
    drop((clients, late));
    hub.drain(SOON).await;
    let lines = scrape(&service);
    assert_eq!(value(&lines, "tidings_ready"), 0.0);
    assert_eq!(value(&lines, "tidings_sessions{transport=\"ws\"}"), 0.0);
}

/// Stands in for a connection.
struct Silent;

impl Transport for Silent {
    fn name(&self) -> &'static str {
        "ws"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}

/// A user's session in so many rooms that nobody else is in.
async fn enter(hub: &Hub, user: usize, rooms: usize) -> Session {
    let who = Identity::user(&format!("QxZ7user{user}"));
    let mut session = hub.attach(Arc::new(Silent), who, None).expect("a place");
    for room in 0..rooms {
        let room = RoomName::new(&format!("price:QxZ7room{user}.{room}")).expect("a name");
        session.join(room, From::Now).await.expect("let in");
    }
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_series_whatever_clients_call_themselves_and_their_rooms() {
    const USERS: usize = 50_000;
    const ROOMS: usize = 2;
    let service = service();
    let server = Server::with_service(service.clone()).await;
    let come = async |clients: usize, users: std::ops::Range<usize>| {
        for client in 0..clients {
            let target = format!("/realtime/poll?room=QxZ7{client}&u=QxZ7user{client}");
            let agent = format!("user-agent: QxZ7agent{client}");
            let answer = request(server.address(), "GET", &target, &[&agent], "").await.expect("an answer");
            assert_eq!(answer.status, 200);
            let call = format!(r#"{{"type":"call","method":"QxZ7method{client}"}}"#);
            request(server.address(), "POST", "/realtime/send", &[], call).await.expect("an answer");
            let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[&agent]).await;
            let reason = format!("QxZ7 goes because of {client}");
            socket.send(&masked(0x88, &[&1_000_u16.to_be_bytes(), reason.as_bytes()].concat())).await;
            assert_eq!(socket.close_code().await, 1_000);
        }
        let mut sessions = Vec::new();
        for user in users {
            sessions.push(enter(server.hub(), user, ROOMS).await);
        }
        sessions
    };
    let few = come(1, 0..5).await;
    let before = scrape(&service);
    let many = come(100, 5..USERS).await;
    // The machine may have something else to do.
    let (took, after) = (0..5)
        .map(|_| {
            let begin = Instant::now();
            let after = scrape(&service);
            (begin.elapsed(), after)
        })
        .min()
        .expect("five");
    println!("{} series, in {took:?}", after.len());
    let names = |lines: &[String]| -> Vec<String> {
        let name = |line: &String| line.rsplit_once(' ').expect("a value").0.to_owned();
        let mut names: Vec<_> = lines.iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&before), names(&after));
    assert!(after.len() < 150, "{} series", after.len());
    assert!(after.iter().all(|line| !line.contains("QxZ7")));
    assert_eq!(value(&after, "tidings_rooms{class=\"price:*\"}"), (USERS * ROOMS) as f64);
    assert!(took < SCRAPE, "{took:?}");
    drop((few, many));
}

/// Asked by the header `user`: who that is, or how the gate fails.
struct Shown;

impl Gate for Shown {
    fn connect<'a>(&'a self, head: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        let user = head.headers.get("user").and_then(|user| user.to_str().ok()).map(str::to_owned);
        Box::pin(async move {
            match user.as_deref() {
                Some("broken") => panic!("a gate's own fault"),
                Some(user) => Ok(Identity::user(user)),
                None => Err(Denied::unauthorized("who is it?")),
            }
        })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a tidings::RoomName) -> gate::Decision<'a> {
        let own = room.as_str() == "own";
        Box::pin(async move { if own { Err(Denied::invalid("our_own", "no")) } else { Ok(()) } })
    }
}

const ALICE: &str = "user: alice";

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_counted_once_by_its_code() {
    let mut limits = Limits::default();
    (limits.rooms, limits.user_sessions, limits.polls) = (2, 3, 0);
    limits.address_requests = Rate::per_second(1);
    let hub = Hub::builder().gate(Shown).limits(limits).build();
    hub.on_call("fails", |_, (): ()| async { Err::<(), _>(tidings::CallError::new("not_today", "no")) });
    let proxies = Proxies::x_forwarded_for().trust("127.0.0.0/8").expect("a network");
    let server = Server::with_service(tidings::service(hub).proxies(proxies)).await;
    let ask = async |method: &str, target: &str, headers: &[&str], body: &str| {
        let target = format!("/realtime/{target}");
        let answer = request(server.address(), method, &target, headers, body.to_owned()).await;
        answer.expect("an answer").status
    };
    let mut expected = BTreeMap::new();
    let mut expect = |code: &'static str| *expected.entry(code).or_insert(0) += 1;
    for (method, target, headers, status, code) in [
        ("GET", "nothing", &[ALICE][..], 404, "not_found"),
        ("PUT", "send", &[ALICE], 405, "method"),
        ("GET", "sse?room=a", &[], 401, "unauthorized"),
        ("POST", "ticket", &[], 401, "unauthorized"),
        ("GET", "sse?room=a&ticket=AAAAAAAAAAAAAAAAAAAAAA", &[ALICE], 401, "unauthorized"),
        ("GET", "sse?room=a", &["user: broken"], 500, "internal"),
        // Told to a browser by a stream that says when to come back.
        ("GET", "sse?room=a", &["user: broken", "accept: text/event-stream"], 200, "internal"),
        ("GET", "sse?room=a", &[ALICE, "origin: https://evil.example"], 403, "origin"),
        ("GET", "sse?room=a&room=a", &[ALICE], 400, "bad_room"),
        ("GET", "sse?room=a&from=x", &[ALICE], 400, "bad_cursor"),
        ("GET", "sse?room=a&format=x", &[ALICE], 400, "bad_query"),
        ("GET", "sse?room=a&room=b&room=c", &[ALICE], 400, "too_many_rooms"),
        ("GET", "sse?room=~user:bob", &[ALICE], 403, "forbidden"),
        ("GET", "sse?room=own", &[ALICE], 400, "other"),
        ("GET", "poll?room=a", &[ALICE], 503, "busy"),
        ("GET", "ws?room=a", &[ALICE], 426, "upgrade"),
        ("POST", "send", &[ALICE, "content-encoding: gzip"], 415, "encoding"),
    ] {
        assert_eq!(ask(method, target, headers, "{}").await, status, "{method} {target} {headers:?}");
        expect(code);
    }
    for (body, status, codes) in [
        ("{", 400, &["bad_json"][..]),
        (r#"{"type":"x"}"#, 400, &["bad_command"]),
        (
            r#"[{"type":"x"},{"type":"call","method":"no"},{"type":"ping"}]"#,
            200,
            &["bad_command", "unknown_method"],
        ),
        (r#"{"type":"call","method":"fails"}"#, 400, &["other"]),
        (r#"{"type":"auth","token":"x"}"#, 401, &["unauthorized"]),
        (r#"{"type":"join","room":"a"}"#, 400, &["no_stream"]),
    ] {
        assert_eq!(ask("POST", "send", &[ALICE], body).await, status, "{body}");
        codes.iter().for_each(|code| expect(code));
    }
    // Of an address that asks too often, by what is no browser and by one.
    for accept in ["accept: */*", "accept: text/event-stream"].repeat(10) {
        let headers = [ALICE, "x-forwarded-for: 192.0.2.1", accept];
        match ask("GET", "sse?room=a&from=x", &headers, "").await {
            400 => expect("bad_cursor"),
            429 => expect("rate"),
            200 if accept.ends_with("event-stream") => expect("rate"),
            other => panic!("{other}"),
        }
    }
    // On WebSockets, until there are too many.
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(RawSocket::connect(server.address(), "/realtime/ws", &[ALICE]).await);
    }
    assert_eq!(ask("GET", "sse?room=a", &[ALICE], "").await, 429);
    expect("too_many_sessions");
    for (command, code) in [
        (json!({"type": "join", "ref": 1, "room": "own"}), "other"),
        (json!({"type": "join", "ref": 1, "room": "a"}), ""),
        (json!({"type": "join", "ref": 1, "room": "b"}), ""),
        (json!({"type": "join", "ref": 1, "room": "c"}), "too_many_rooms"),
        (json!({"type": "auth", "ref": 1, "token": "x"}), "unauthorized"),
        (json!({"type": "x", "ref": 1}), "bad_command"),
    ] {
        sockets[0].send(&masked(0x81, command.to_string().as_bytes())).await;
        assert_eq!(sockets[0].json().await["type"] == "error", !code.is_empty(), "{command}");
        if !code.is_empty() {
            expect(code);
        }
    }
    let refused = server.hub().stats().refused;
    let counted: BTreeMap<_, _> = refused.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, expected);
    assert!(counted["rate"] > 10, "{counted:?}");
}
