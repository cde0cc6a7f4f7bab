//! How often one may ask: a session, a user, an address.

use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tidings::{Gate, Hub, Identity, Limits, Proxies, Rate, gate};
use tidings_testkit::{
    Answer, Server,
    raw::{RawSocket, masked},
    request,
};

/// Everybody is ann, and is counted.
struct Ann(Arc<AtomicUsize>);

impl Gate for Ann {
    fn connect<'a>(&'a self, _: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(std::future::ready(Ok(Identity::user("ann"))))
    }
}

async fn server(gate: impl Gate, change: impl FnOnce(&mut Limits)) -> Server {
    let mut limits = Limits::default();
    change(&mut limits);
    let hub = Hub::builder().gate(gate).limits(limits).build();
    let proxies = Proxies::x_forwarded_for().trust("127.0.0.0/8").expect("a network");
    Server::with_service(tidings::service(hub).proxies(proxies)).await
}

fn ping(reference: u64) -> Vec<u8> {
    masked(0x81, json!({"type": "ping", "ref": reference}).to_string().as_bytes())
}

async fn post(server: &Server, ip: &str, body: &Value) -> Answer {
    let headers = [format!("x-forwarded-for: {ip}")];
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    request(server.address(), "POST", "/realtime/send", &headers, body.to_string()).await.expect("an answer")
}

#[tokio::test]
async fn a_session_that_asks_too_often_is_refused_and_one_that_goes_on_is_closed() {
    let server = server(gate::open(), |limits| limits.session_commands = Rate::per_second(1).burst(10)).await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    let pings: Vec<u8> = (1..=40).flat_map(ping).collect();
    socket.send(&pings).await;
    for reference in 1..=10 {
        assert_eq!(socket.json().await, json!({"type": "pong", "ref": reference}));
    }
    for reference in 11..=21 {
        let error = socket.json().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("rate")), "{error}");
        assert_eq!(error["ref"], reference);
    }
    let close = loop {
        let told = socket.json().await;
        if told["type"] == "close" {
            break told;
        }
        assert_eq!(told["code"], "rate", "{told}");
    };
    assert_eq!(close, json!({"type": "close", "code": "rate", "retry": [10_000, 30_000]}));
    assert_eq!(socket.close_code().await, 1008);
    // Another session is another's affair, also in the same place of the server's table.
    server.until_sessions(0, Duration::from_secs(5)).await;
    let mut other = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    other.send(&ping(1)).await;
    assert_eq!(other.json().await["type"], "pong");
}

#[tokio::test]
async fn what_is_no_command_counts_and_later_commands_are_done_again() {
    let server = server(gate::open(), |limits| limits.session_commands = Rate::per_second(10).burst(3)).await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    for _ in 0..3 {
        socket.send(&masked(0x81, b"{")).await;
        assert_eq!(socket.json().await["code"], "bad_json");
    }
    // The bucket may have filled a little meanwhile, but not so fast.
    let mut refused = 0;
    for reference in 0..3 {
        socket.send(&ping(reference)).await;
        refused += u64::from(socket.json().await["code"] == "rate");
    }
    assert!(refused > 0);
    tokio::time::sleep(Duration::from_millis(400)).await;
    socket.send(&ping(9)).await;
    assert_eq!(socket.json().await, json!({"type": "pong", "ref": 9}));
}

#[tokio::test]
async fn a_users_commands_are_counted_over_all_its_sessions_and_requests() {
    let asked = Arc::default();
    let server = server(Ann(asked), |limits| limits.user_commands = Rate::per_second(1).burst(4)).await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
    for reference in 0..2 {
        socket.send(&ping(reference)).await;
        assert_eq!(socket.json().await["type"], "pong");
    }
    let publish = json!({"type": "publish", "ref": 7, "room": "a", "event": "e"});
    let replies = post(&server, "192.0.2.1", &json!([publish, publish, publish])).await;
    assert_eq!(replies.status, 200);
    let replies = replies.json();
    assert_eq!((&replies[0]["type"], &replies[1]["type"]), (&json!("reply"), &json!("reply")), "{replies}");
    assert_eq!((&replies[2]["code"], &replies[2]["ref"]), (&json!("rate"), &json!(7)), "{replies}");
    let lone = post(&server, "192.0.2.2", &publish).await;
    assert_eq!((lone.status, lone.header("retry-after")), (429, "1"));
    assert_eq!((&lone.json()["code"], &lone.json()["ref"]), (&json!("rate"), &json!(7)));
    socket.send(&ping(3)).await;
    assert_eq!(socket.json().await["code"], "rate");
}

#[tokio::test]
async fn an_addresss_commands_are_counted_and_anothers_are_not_held_up() {
    let server = server(gate::open(), |limits| limits.address_commands = Rate::per_second(1).burst(3)).await;
    let ping = json!({"type": "ping"});
    for _ in 0..3 {
        assert_eq!(post(&server, "192.0.2.1", &ping).await.status, 200);
    }
    assert_eq!(post(&server, "192.0.2.1", &ping).await.status, 429);
    // It is in the same network.
    for ip in ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"] {
        assert_eq!(post(&server, ip, &ping).await.status, 200);
    }
    assert_eq!(post(&server, "2001:db8:0:1::4", &ping).await.status, 429);
    assert_eq!(post(&server, "192.0.2.2", &ping).await.status, 200);
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_on_every_address_before_the_gate_is_asked() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let server =
        server(Ann(Arc::clone(&asked)), |limits| limits.address_requests = Rate::per_second(1).burst(2))
            .await;
    let ask = async |method: &str, path: &str, headers: &[&str]| {
        let headers: Vec<_> = ["x-forwarded-for: 192.0.2.1"].iter().chain(headers).copied().collect();
        let target = format!("/realtime/{path}");
        request(server.address(), method, &target, &headers, "").await.expect("an answer")
    };
    for _ in 0..2 {
        assert_eq!(ask("GET", "poll?room=a", &[]).await.status, 200);
    }
    assert_eq!(asked.load(Relaxed), 2);
    for (method, path) in [("GET", "poll?room=a"), ("GET", "sse?room=a"), ("GET", "ws"), ("POST", "send")] {
        let refused = ask(method, path, &[]).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "{path}");
        assert_eq!(refused.json()["code"], "rate");
    }
    // A browser's stream would never come back after an error.
    let later = ask("GET", "sse?room=a", &["accept: text/event-stream"]).await;
    assert_eq!((later.status, later.header("content-type")), (200, "text/event-stream"));
    assert_eq!(asked.load(Relaxed), 2, "the gate was not asked");
}

#[tokio::test]
async fn without_limits_nobody_is_refused() {
    let asked = Arc::default();
    let server = server(Ann(asked), |limits| {
        limits.session_commands = Rate::unlimited();
        limits.user_commands = Rate::unlimited();
        limits.address_commands = Rate::unlimited();
        limits.address_requests = Rate::unlimited();
    })
    .await;
    let headers = ["X-Forwarded-For: 192.0.2.1"];
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &headers).await;
    for at in 0..50 {
        let pings: Vec<u8> = (0..100).flat_map(|more| ping(at * 100 + more)).collect();
        socket.send(&pings).await;
        for more in 0..100 {
            assert_eq!(socket.json().await, json!({"type": "pong", "ref": at * 100 + more}));
        }
    }
}
