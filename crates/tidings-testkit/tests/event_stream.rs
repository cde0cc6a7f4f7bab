//! An event stream shows itself at once, stays alive, and lets no payload become a field.

use bytes::Bytes;
use std::time::{Duration, Instant};
use tidings::{Event, Hub, Limits, gate};
use tidings_sse::parse::{Parser, StreamEvent};
use tidings_testkit::{Server, request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A raw HTTP/1.0 client: the answer is not chunked, so its bytes are the stream.
async fn open(server: &Server, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    let request = format!("GET {target} HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, what: &str) {
    let find = |seen: &[u8]| seen.windows(what.len()).any(|window| window == what.as_bytes());
    while !find(seen) {
        let mut piece = [0; 4_096];
        let read = within(Duration::from_secs(5), what, stream.read(&mut piece)).await.expect("still open");
        assert!(read > 0, "the stream ended before {what:?}");
        seen.extend_from_slice(&piece[..read]);
    }
}

#[tokio::test]
async fn a_silent_room_shows_its_head_and_a_cursor_at_once() {
    let server = Server::start().await;
    let begin = Instant::now();
    let mut stream = open(&server, "/realtime/sse?room=silent").await;
    let mut seen = Vec::new();
    read_until(&mut stream, &mut seen, "tidings.joined").await;
    assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    let text = String::from_utf8(seen).expect("UTF-8").to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("http/1.0 200") || head.starts_with("http/1.1 200"), "{head}");
    for line in
        ["content-type: text/event-stream", "cache-control: no-store, no-transform", "x-accel-buffering: no"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("content-length") && !head.contains("content-encoding"), "{head}");
    assert!(body.starts_with(": tidings\nretry: "), "{body}");
    assert!(body.contains("\n\nid: p"), "{body}");
}

#[tokio::test]
async fn signs_of_life_come_in_time_and_are_no_events() {
    let mut limits = Limits::default();
    assert!(limits.heartbeat <= Duration::from_secs(25));
    limits.heartbeat = Duration::from_millis(50);
    let server = Server::with_hub(Hub::builder().gate(gate::open()).limits(limits).build()).await;
    let mut stream = open(&server, "/realtime/sse?room=silent").await;
    let mut seen = Vec::new();
    read_until(&mut stream, &mut seen, "tidings.joined").await;
    read_until(&mut stream, &mut seen, "\n\n:\n\n:\n\n:\n\n").await;
    server.publish("silent", 1).await;
    read_until(&mut stream, &mut seen, "data: 1\n\n").await;
    let at = seen.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let mut parser = Parser::new(1 << 20);
    let mut events = Vec::new();
    parser.feed(&seen[at..], |event| events.push(event)).expect("short events");
    let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["tidings.joined", "n"]);
    assert!(!events[0].id.is_empty() && events[0].id != events[1].id);
}

#[tokio::test]
async fn a_heartbeat_of_no_time_or_of_all_time_leaves_a_stream_that_works() {
    for (heartbeat, version) in
        [(Duration::ZERO, "1.0"), (Duration::ZERO, "1.1"), (Duration::MAX, "1.0"), (Duration::MAX, "1.1")]
    {
        let mut limits = Limits::default();
        (limits.heartbeat, limits.idle) = (heartbeat, Duration::MAX);
        let server = Server::with_hub(Hub::builder().gate(gate::open()).limits(limits).build()).await;
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let request = format!("GET /realtime/sse?room=silent HTTP/{version}\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut seen = Vec::new();
        read_until(&mut stream, &mut seen, "tidings.joined").await;
        // What comes in a silence, as much as is read.
        seen.clear();
        let end = Instant::now() + Duration::from_millis(200);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let mut piece = [0; 4_096];
            let Ok(read) = tokio::time::timeout(left, stream.read(&mut piece)).await else { break };
            seen.extend_from_slice(&piece[..read.expect("still open")]);
        }
        assert!(seen.len() < 10_000, "{} bytes of life at {heartbeat:?}, HTTP/{version}", seen.len());
        server.publish("silent", 1).await;
        read_until(&mut stream, &mut seen, "data: 1\n\n").await;
    }
}

#[tokio::test]
async fn a_payload_is_one_event_whatever_is_in_it() {
    let server = Server::start().await;
    let payloads: [&'static str; 6] = [
        "{\"a\":\r\n1}",
        "[1,\r2]",
        "\n\n[1,\n\n2]\r",
        "\"x\\rid: 9\\revent: evil\\n\\ndata: y\"",
        "[\rid: 9\r]",
        " 7",
    ];
    let mut published = 0;
    for payload in payloads {
        // Where the trick would break the JSON it cannot even be published.
        if let Ok(event) = Event::from_json("e", Bytes::from_static(payload.as_bytes())) {
            server.hub().publish("r", event).await.expect("published");
            published += 1;
        }
    }
    assert_eq!(published, 5);
    server.publish("r", 0).await;
    for (query, names) in [("", "e"), ("&format=json", "message")] {
        let mut stream = open(&server, &format!("/realtime/sse?room=r&from=start{query}")).await;
        let mut seen = Vec::new();
        let end = if query.is_empty() { "event: n\ndata: 0\n\n" } else { "\"event\":\"n\",\"data\":0}\n\n" };
        read_until(&mut stream, &mut seen, end).await;
        let at = seen.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let mut events: Vec<StreamEvent> = Vec::new();
        Parser::new(1 << 20).feed(&seen[at..], |event| events.push(event)).expect("short events");
        let events = &events[1..events.len() - 1];
        assert_eq!(events.len(), published);
        for (event, payload) in
            events.iter().zip(payloads.iter().filter(|payload| !payload.contains("[\rid")))
        {
            assert_eq!(event.event, names);
            assert!(event.id.starts_with('p'), "{event:?}");
            let heard: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            let heard = if query.is_empty() { heard } else { heard["data"].clone() };
            let sent: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            assert_eq!(heard, sent);
        }
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_session_or_credentials() {
    struct Nobody;
    impl tidings::Gate for Nobody {
        fn connect<'a>(&'a self, _: &'a http::request::Parts) -> gate::Decision<'a, tidings::Identity> {
            panic!("a preflight asks nobody")
        }
    }
    let origins = tidings::Origins::same().allow("https://app.example").expect("an origin");
    let service = tidings::service(Hub::builder().gate(Nobody).build()).origins(origins);
    let server = Server::with_service(service).await;
    let ask = async |origin: &str, path: &str, method: &str| {
        let headers = [
            &*format!("origin: {origin}"),
            &*format!("access-control-request-method: {method}"),
            "access-control-request-headers: authorization, content-type, last-event-id",
        ];
        request(server.address(), "OPTIONS", &format!("/realtime/{path}"), &headers, "")
            .await
            .expect("an answer")
    };
    for (path, method) in [("send", "POST"), ("poll", "GET"), ("sse", "GET")] {
        let answer = ask("https://app.example", path, method).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("access-control-allow-methods").contains(method));
        for header in ["authorization", "content-type", "last-event-id"] {
            assert!(answer.header("access-control-allow-headers").contains(header), "{header}");
        }
        assert!(answer.header("access-control-max-age").parse::<u32>().is_ok_and(|age| age > 0));
        assert_eq!(answer.header("vary"), "origin");
        let foreign = ask("https://evil.example", path, method).await;
        assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, ""));
    }
    assert_eq!(server.sessions(), 0);
}
