//! A session goes as far as its token, and on with another one.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidings_jwt::JwtGate;
use tidings_testkit::{Client, Heard, Kind, RawSocket, Server, mount, raw::masked, within};

const SOON: Duration = Duration::from_secs(10);
const SECRET: [u8; 64] = [7; 64];

async fn server() -> Server {
    let key = DecodingKey::from_secret(&SECRET).expect("a secret");
    let gate = JwtGate::new(Algorithm::HS256, key).expect("a key").rooms_claimed();
    Server::with_hub(tidings_core::Hub::builder().gate(gate).build()).await
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_secs_f64()
}

fn token(claims: Value) -> String {
    let key = EncodingKey::from_secret(&SECRET).expect("a secret");
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token")
}

async fn a_session_ends_when_its_token_does(kind: Kind) {
    let server = server().await;
    let exp = now() + 1.5;
    let header =
        format!("authorization: Bearer {}", token(json!({"sub": "alice", "exp": exp, "rooms": ["a"]})));
    let refused = Client::connect_with(kind, server.address(), "b", "now", &[&header]).await;
    assert_eq!(refused.expect_err("not its room").status, 403);
    let mut client =
        Client::connect_with(kind, server.address(), "a", "now", &[&header]).await.expect("let in");
    server.publish("a", 1).await;
    assert_eq!(client.number().await, 1);
    let heard = within(SOON, "the close", client.next()).await;
    assert!(matches!(&heard, Some(Heard::Other(close)) if close["code"] == "expired"), "{heard:?}");
    let late = now() - exp;
    assert!((0.0..1.0).contains(&late), "{late} s");
    let refused = Client::connect_with(kind, server.address(), "a", "now", &[&header]).await;
    assert_eq!(refused.expect_err("expired").status, 401);
}

mount!(a_session_ends_when_its_token_does);

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_token_renews_a_session() {
    let server = server().await;
    let exp = now() + 2.0;
    let first = token(json!({"sub": "alice", "exp": exp, "rooms": ["a", "b"], "publish": ["a"]}));
    let header = format!("authorization: Bearer {first}");
    let mut socket = RawSocket::connect(server.address(), "/realtime/ws?room=a&room=b", &[&header]).await;
    for _ in 0..2 {
        assert_eq!(socket.json().await["type"], "joined");
    }
    let say = async |socket: &mut RawSocket, command: Value| {
        socket.send(&masked(0x81, command.to_string().as_bytes())).await;
        socket.json().await
    };
    let rooms = json!(["a", "b"]);
    let mut forged = token(json!({"sub": "alice", "exp": now() + 60.0, "rooms": rooms}));
    forged.pop();
    for (bad, code) in [
        (token(json!({"sub": "alice", "exp": now() - 2.0, "rooms": rooms})), "unauthorized"),
        (token(json!({"sub": "alice", "rooms": rooms})), "unauthorized"),
        (
            token(json!({"sub": "alice", "exp": now() + 60.0, "nbf": now() + 30.0, "rooms": rooms})),
            "unauthorized",
        ),
        (forged, "unauthorized"),
        (token(json!({"sub": "bob", "exp": now() + 60.0, "rooms": rooms})), "forbidden"),
    ] {
        let answer = say(&mut socket, json!({"type": "auth", "ref": 1, "token": bad})).await;
        assert_eq!(answer["code"], code, "{answer}");
    }
    let renewed = token(json!({"sub": "alice", "exp": exp + 2.0, "rooms": ["a"]}));
    let told = say(&mut socket, json!({"type": "auth", "ref": 2, "token": renewed})).await;
    assert_eq!((&told["room"], &told["code"]), (&json!("b"), &json!("forbidden")));
    let left = socket.json().await["data"]["expires_in"].as_u64().expect("seconds");
    assert!((2..=3).contains(&left), "{left}");
    // The rights are those of the new token.
    let publish = json!({"type": "publish", "ref": 3, "room": "a", "event": "e"});
    assert_eq!(say(&mut socket, publish).await["code"], "forbidden");
    assert_eq!(socket.json().await, json!({"type": "close", "code": "expired"}));
    let late = now() - (exp + 2.0);
    assert!((0.0..1.0).contains(&late), "{late} s");
}
