//! What the operator is told, and that no secret of a client's is in it.
//!
//! Each test here keeps a log from its beginning: one that did not would switch lines off for the others.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::{future::pending, time::Duration};
use tidings::{
    Denied, Gate, Hub, Identity, Limits,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{
    Log, RawSocket, Server,
    raw::{answer, handshake, masked},
    request, within,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SOON: Duration = Duration::from_secs(10);

/// Panics, or does not answer.
struct Unwell;

impl Gate for Unwell {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        if head.headers.get("word").is_some_and(|word| word == "broken") {
            panic!("a gate's own fault");
        }
        Box::pin(pending())
    }
}

#[tokio::test]
async fn the_log_has_one_line_for_many_and_no_word_of_who_asked() {
    let (log, _logging) = Log::begin();
    let mut limits = Limits::default();
    limits.gate_wait = Duration::from_millis(300);
    let server = Server::with_hub(Hub::builder().gate(Unwell).limits(limits).build()).await;
    for word in ["broken", "stuck"] {
        for _ in 0..3 {
            let header = format!("word: {word}");
            let headers = [header.as_str(), "authorization: Bearer QxZ7secretQxZ7"];
            let target = "/realtime/poll?room=a&token=QxZ7secretQxZ7";
            let answer =
                within(SOON, "an answer", request(server.address(), "GET", target, &headers, "")).await;
            assert!(matches!(answer.expect("an answer").status, 500 | 503));
        }
    }
    let panics = log.lines(&["ERROR", "tidings", "the application has failed", "asked=\"connect\""]);
    assert_eq!(panics.len(), 1, "{panics:?}");
    let late = log.lines(&["ERROR", "tidings", "did not answer in time", "asked=\"connect\""]);
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(log.lines(&["QxZ7secret"]).is_empty());
    let answer = request(server.address(), "POST", "/realtime/send", &["word: stuck"], "{}").await;
    let answer = answer.expect("an answer");
    let code = answer.json()["code"].clone();
    assert_eq!((answer.status, code, answer.header("retry-after")), (503, json!("unavailable"), "2"));
}

/// Takes one token, and tells the log what it is asked.
struct Talkative;

impl Gate for Talkative {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        tracing::debug!(headers = ?head.headers, "a gate is asked");
        match tidings::gate::bearer(head) {
            Some(token) => self.token(token),
            None => Box::pin(async { Ok(Identity::user("alice")) }),
        }
    }

    fn token<'a>(&'a self, token: &'a str) -> Decision<'a, Identity> {
        Box::pin(async move {
            match token {
                SECRET => Ok(Identity::user("alice").with_claims(token.to_owned())),
                BROKEN => panic!("a gate's own fault"),
                _ => Err(Denied::unauthorized("this is no token")),
            }
        })
    }
}

/// One that is taken, one that is not, and one at which the gate panics.
const SECRET: &str = "QxZ7secret-good";
const WRONG: &str = "QxZ7secret-wrong";
const BROKEN: &str = "QxZ7secret-broken";

#[tokio::test]
async fn what_a_client_shows_is_in_no_line_of_the_log_and_in_no_answer() {
    let (log, _logging) = Log::begin();
    let server = Server::with_hub(Hub::builder().gate(Talkative).build()).await;
    let mut said = String::new();
    for secret in [SECRET, WRONG, BROKEN] {
        let packed = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let auth = json!({"type": "auth", "ref": 1, "token": secret}).to_string();
        let places = [
            format!("authorization: Bearer {secret}"),
            format!("cookie: session={secret}"),
            format!("sec-websocket-protocol: tidings.v1, tidings.token.{packed}"),
        ];
        for place in &places {
            for target in ["ws?room=a", "sse?room=a", "poll?room=a"] {
                let target = format!("/realtime/{target}&token={secret}");
                let mut stream = TcpStream::connect(server.address()).await.expect("connected");
                let head = handshake(&target, &[place]);
                stream.write_all(head.as_bytes()).await.expect("sent");
                said += &within(SOON, "an answer", answer(&mut stream)).await.expect("an answer");
            }
            let answer = request(server.address(), "POST", "/realtime/send", &[place], auth.clone()).await;
            said += &String::from_utf8_lossy(&answer.expect("an answer").body);
            // Over HTTP/2, too.
            let stream = TcpStream::connect(server.address()).await.expect("connected");
            let both = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (mut asker, connection) = both.expect("HTTP/2");
            let connection = tokio::spawn(connection);
            let (name, value) = place.split_once(": ").expect("a header line");
            let target = format!("http://{}/realtime/poll?room=a", server.address());
            let request = http::Request::get(target).header(name, value);
            let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
            said += &format!("{:?}", asker.send_request(request).await.expect("an answer"));
            connection.abort();
        }
        let mut socket = RawSocket::connect(server.address(), "/realtime/ws", &[]).await;
        for bad in [&auth, &auth.replace("auth", "aut"), &auth.replace('}', ""), &json!([secret]).to_string()]
        {
            socket.send(&masked(0x81, bad.as_bytes())).await;
            said += &socket.json().await.to_string();
        }
    }
    assert!(!log.lines(&["tidings"]).is_empty() && !log.lines(&["a gate is asked"]).is_empty());
    let found: Vec<_> = ["QxZ7", &BASE64_URL_SAFE_NO_PAD.encode("QxZ7sec")[..8]]
        .into_iter()
        .flat_map(|text| log.lines(&[text]))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(
        !said.contains("QxZ7") && said.contains(" 101 ") && said.contains(" 401 ") && said.contains(" 500 ")
    );
}
