//! Who shows a token comes in by it on every transport, and goes on with another one when it expires.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidings::{
    Denied, Gate, Hub, Identity, Limits, Rate, RoomName,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{
    Client, Heard, Kind, RawSocket, Server, mount,
    raw::{answer, handshake, masked},
    request, within,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SOON: Duration = Duration::from_secs(10);

/// Takes tokens of a user, a time in milliseconds since 1970, and the room that is closed to it: `alice/17900000000/b`.
struct Tokens;

impl Gate for Tokens {
    fn token<'a>(&'a self, token: &'a str) -> Decision<'a, Identity> {
        let mut parts = token.split('/');
        let user = parts.next().unwrap_or_default();
        let until = parts.next().and_then(|until| until.parse().ok());
        let closed = parts.next().unwrap_or_default().to_owned();
        Box::pin(async move {
            if user == "nobody-knows" {
                return Err(Denied::unavailable("no database"));
            }
            let until = until.ok_or_else(|| Denied::unauthorized("this is no token"))?;
            Ok(Identity::user(user)
                .with_expiry(UNIX_EPOCH + Duration::from_millis(until))
                .with_claims(closed))
        })
    }

    fn join<'a>(&'a self, who: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        let closed = who.claims::<String>().is_none_or(|closed| closed == room.as_str());
        Box::pin(async move {
            if !closed {
                return Ok(());
            }
            Err(if room.as_str() == "unknown" {
                Denied::unavailable("no database")
            } else {
                Denied::forbidden("no")
            })
        })
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    limits.auth_wait = Duration::from_millis(800);
    limits.user_sessions = 2;
    Server::with_hub(Hub::builder().gate(Tokens).limits(limits).build()).await
}

fn token(user: &str, left: Duration, closed: &str) -> String {
    let until = (SystemTime::now() + left).duration_since(UNIX_EPOCH).expect("later than 1970");
    format!("{user}/{}/{closed}", until.as_millis())
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

fn subprotocol(token: &str) -> String {
    format!("sec-websocket-protocol: tidings.v1, tidings.token.{}", BASE64_URL_SAFE_NO_PAD.encode(token))
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn whoever_shows_a_token_comes_in_and_others_do_not(kind: Kind) {
    let server = server().await;
    let good = bearer(&token("alice", HOUR, ""));
    let mut client =
        Client::connect_with(kind, server.address(), "a", "now", &[&good]).await.expect("let in");
    server.publish("a", 1).await;
    assert_eq!(client.number().await, 1);
    assert_eq!(client.publish("n", json!(2), None).await["type"], "reply");
    let old = bearer(&token("alice", Duration::ZERO, ""));
    let wrong = bearer("alice");
    for headers in [&[][..], &[old.as_str()], &[wrong.as_str()], &["authorization: Basic YTpi"]] {
        let refused = Client::connect_with(kind, server.address(), "a", "now", headers).await;
        let refused = refused.expect_err("nobody");
        assert_eq!((refused.status, refused.code.as_str()), (401, "unauthorized"), "{headers:?}");
    }
}

/// Nothing is lost by coming back with another token, which is how event streams and polls go on.
async fn whoever_comes_back_with_another_token_goes_on_where_it_stood(kind: Kind) {
    let server = server().await;
    let show = || bearer(&token("alice", Duration::from_millis(600), ""));
    let mut client =
        Client::connect_with(kind, server.address(), "a", "now", &[&show()]).await.expect("let in");
    let publishing = async {
        for number in 0..60 {
            server.publish("a", number).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let hearing = async {
        let (mut next, mut comebacks) = (0, 0);
        while next < 60 {
            match within(SOON, "an event", client.next()).await {
                Some(Heard::Event { data, .. }) => {
                    assert_eq!(data, next);
                    next += 1;
                }
                Some(Heard::Other(close)) if close["code"] == "expired" => {}
                None => {
                    let (from, shown) = (client.cursor().to_owned(), show());
                    let again = Client::connect_with(kind, server.address(), "a", &from, &[&shown]).await;
                    client = again.expect("let in");
                    comebacks += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        comebacks
    };
    let ((), comebacks) = tokio::join!(publishing, hearing);
    assert!(comebacks >= 2, "{comebacks}");
}

mount!(
    whoever_shows_a_token_comes_in_and_others_do_not,
    whoever_comes_back_with_another_token_goes_on_where_it_stood
);

async fn say(socket: &mut RawSocket, command: Value) -> Value {
    socket.send(&masked(0x81, command.to_string().as_bytes())).await;
    socket.json().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_its_token_as_a_subprotocol_which_the_answer_does_not_name() {
    let server = server().await;
    let good = token("alice", HOUR, "");
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[&subprotocol(&good)]).await;
    assert_eq!(socket.header("sec-websocket-protocol"), Some("tidings.v1"));
    assert_eq!(say(&mut socket, json!({"type": "join", "ref": 1, "room": "a"})).await["type"], "joined");
    let wrong = [
        "sec-websocket-protocol: tidings.v1, tidings.token.!".to_owned(),
        subprotocol("alice"),
        String::new(),
    ];
    for wrong in &wrong {
        let headers = [wrong.as_str()];
        let headers = if wrong.is_empty() { &[][..] } else { &headers };
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        stream.write_all(handshake("/realtime/ws", headers).as_bytes()).await.expect("sent");
        let head = answer(&mut stream).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 401"), "{wrong}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_its_token_first_may_do_nothing_before() {
    let server = server().await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws?auth=1&hello=1", &[]).await;
    assert_eq!(socket.json().await["expires_in"], 0, "less than a second is left");
    for command in [
        json!({"type": "join", "ref": 1, "room": "a"}),
        json!({"type": "publish", "ref": 1, "room": "a", "event": "e"}),
        json!({"type": "call", "ref": 1, "method": "m"}),
        json!({"type": "leave", "ref": 1, "room": "a"}),
        json!({"type": "auth", "ref": 1, "token": "alice"}),
        json!({"type": "auth", "ref": 1, "token": token("alice", Duration::ZERO, "")}),
    ] {
        let answer = say(&mut socket, command.clone()).await;
        assert_eq!((&answer["ref"], &answer["code"]), (&json!(1), &json!("unauthorized")), "{command}");
    }
    assert_eq!(say(&mut socket, json!({"type": "ping", "ref": 2})).await["type"], "pong");
    let answer = say(&mut socket, json!({"type": "auth", "ref": 3, "token": token("alice", HOUR, "")})).await;
    assert_eq!((&answer["type"], &answer["ref"]), (&json!("reply"), &json!(3)));
    assert!((3_598..=3_600).contains(&answer["data"]["expires_in"].as_u64().expect("a number")), "{answer}");
    assert_eq!(say(&mut socket, json!({"type": "join", "ref": 4, "room": "a"})).await["type"], "joined");
    // It is there for longer than one that says nothing.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.publish("a", 1).await;
    assert_eq!(socket.json().await["data"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_says_who_it_is_is_sent_away() {
    let server = server().await;
    let begin = Instant::now();
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws?auth=1", &[]).await;
    assert_eq!(socket.json().await, json!({"type": "close", "code": "expired"}));
    assert_eq!(socket.close_code().await, 1008);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    drop(socket);
    server.until_sessions(0, SOON).await;
    // Rooms are joined by somebody.
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    stream.write_all(handshake("/realtime/ws?auth=1&room=a", &[]).as_bytes()).await.expect("sent");
    assert!(answer(&mut stream).await.expect("an answer").starts_with("HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_its_token_first_counts_as_its_user() {
    let server = server().await;
    let mut sockets = Vec::new();
    for n in 0..3 {
        let mut socket = RawSocket::connect(server.address(), "/realtime/ws?auth=1", &[]).await;
        let answer =
            say(&mut socket, json!({"type": "auth", "ref": 1, "token": token("alice", HOUR, "")})).await;
        let expected = if n < 2 { "reply" } else { "error" };
        assert_eq!(answer["type"], expected, "{n}: {answer}");
        assert!(n < 2 || answer["code"] == "too_many_sessions", "{answer}");
        sockets.push(socket);
    }
    // The place of one that has gone is another's.
    sockets.truncate(1);
    server.until_sessions(1, SOON).await;
    let good = bearer(&token("alice", HOUR, ""));
    Client::connect_with(Kind::Ws, server.address(), "a", "now", &[&good]).await.expect("let in");
}

async fn joined(server: &Server, left: Duration, rooms: &[&str]) -> RawSocket {
    let header = bearer(&token("alice", left, ""));
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[&header]).await;
    for room in rooms {
        assert_eq!(say(&mut socket, json!({"type": "join", "room": room})).await["type"], "joined");
    }
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_changes_nothing() {
    let server = server().await;
    let begin = Instant::now();
    let mut socket = joined(&server, Duration::from_millis(1_500), &["a", "unknown"]).await;
    for (bad, code) in [
        (token("alice", Duration::ZERO, ""), "unauthorized"),
        ("alice".to_owned(), "unauthorized"),
        ("alice/never".to_owned(), "unauthorized"),
        (token("bob", HOUR, ""), "forbidden"),
        (token("nobody-knows", HOUR, ""), "unavailable"),
        // Whether a room is still open to it cannot be found out.
        (token("alice", HOUR, "unknown"), "unavailable"),
    ] {
        let answer = say(&mut socket, json!({"type": "auth", "ref": 1, "token": bad})).await;
        assert_eq!((&answer["ref"], &answer["code"]), (&json!(1), &json!(code)), "{bad}: {answer}");
    }
    for room in ["a", "unknown"] {
        server.publish(room, 1).await;
        assert_eq!(socket.json().await["room"], room);
    }
    assert_eq!(socket.json().await, json!({"type": "close", "code": "expired"}));
    let lasted = begin.elapsed();
    assert!((Duration::from_millis(1_400)..Duration::from_millis(2_500)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_moves_the_expiry_and_closes_the_rooms_that_are_not_open_any_more() {
    let server = server().await;
    let mut socket = joined(&server, Duration::from_millis(1_000), &["a", "b"]).await;
    let renew = json!({"type": "auth", "ref": 9, "token": token("alice", Duration::from_millis(3_000), "b")});
    let told = say(&mut socket, renew).await;
    assert_eq!(
        (&told["type"], &told["room"], &told["code"]),
        (&json!("error"), &json!("b"), &json!("forbidden"))
    );
    let reply = socket.json().await;
    let left = reply["data"]["expires_in"].as_u64().expect("seconds");
    assert!(reply["ref"] == 9 && (1..=2).contains(&left), "{reply}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // It is past its first expiry, and out of one room alone.
    server.publish("b", 1).await;
    server.publish("a", 2).await;
    let heard = socket.json().await;
    assert_eq!((&heard["room"], &heard["data"]), (&json!("a"), &json!(2)));
    assert_eq!(say(&mut socket, json!({"type": "join", "ref": 3, "room": "b"})).await["code"], "forbidden");
    assert_eq!(socket.json().await, json!({"type": "close", "code": "expired"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_room_that_is_asked_about_again_counts_as_a_command() {
    let mut limits = Limits::default();
    limits.session_commands = Rate::per_second(1).burst(12);
    let server = Server::with_hub(Hub::builder().gate(Tokens).limits(limits).build()).await;
    let mut socket = joined(&server, HOUR, &["a", "b", "c", "d"]).await;
    let renew = json!({"type": "auth", "ref": 9, "token": token("alice", HOUR, "")});
    assert_eq!(say(&mut socket, renew.clone()).await["type"], "reply");
    // Of twelve three are left, and perhaps one that has come meanwhile.
    assert_eq!(say(&mut socket, renew).await["code"], "rate");
    server.publish("d", 1).await;
    assert_eq!(socket.json().await["data"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_also_bring_the_end_nearer() {
    let server = server().await;
    let mut socket = joined(&server, HOUR, &["a"]).await;
    let renew = json!({"type": "auth", "ref": 9, "token": token("alice", Duration::from_millis(400), "")});
    assert_eq!(say(&mut socket, renew).await["type"], "reply");
    let close = within(Duration::from_secs(2), "the close", socket.json()).await;
    assert_eq!(close, json!({"type": "close", "code": "expired"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_sent_by_a_request_is_looked_at_and_changes_nothing() {
    let server = server().await;
    let shown = bearer(&token("alice", HOUR, ""));
    let send = async |token: String| {
        let body = json!({"type": "auth", "ref": 1, "token": token}).to_string();
        let answer = request(server.address(), "POST", "/realtime/send", &[&shown], body).await;
        let answer = answer.expect("an answer");
        (answer.status, answer.header("www-authenticate").to_owned(), answer.json())
    };
    let (status, _, reply) = send(token("alice", Duration::from_millis(90_500), "")).await;
    assert_eq!((status, reply), (200, json!({"type": "reply", "ref": 1, "data": {"expires_in": 90}})));
    let (status, challenge, error) = send("alice".to_owned()).await;
    assert_eq!((status, challenge.as_str(), &error["code"]), (401, "Bearer", &json!("unauthorized")));
    let (status, _, error) = send(token("bob", HOUR, "")).await;
    assert_eq!((status, &error["code"]), (403, &json!("forbidden")));
}

/// Knows whoever has a cookie, and takes no tokens.
struct Cookies;

impl Gate for Cookies {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let known = head.headers.contains_key("cookie");
        Box::pin(
            async move { known.then(|| Identity::user("alice")).ok_or_else(|| Denied::unauthorized("who?")) },
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_knows_no_tokens_takes_none() {
    let server = Server::with_hub(Hub::builder().gate(Cookies).build()).await;
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &["cookie: a=b"]).await;
    let auth = json!({"type": "auth", "ref": 1, "token": token("alice", HOUR, "")});
    assert_eq!(say(&mut socket, auth.clone()).await["code"], "unauthorized");
    let mut stranger = RawSocket::connect(server.address(), "/realtime/ws?auth=1", &["cookie: a=b"]).await;
    assert_eq!(say(&mut stranger, auth).await["code"], "unauthorized");
}
