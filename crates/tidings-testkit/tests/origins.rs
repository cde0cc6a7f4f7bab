//! Which pages may use the service, on every transport, and what the operator is told of the others.

use tidings::{Hub, Origins, gate};
use tidings_testkit::{Log, Server, request};

/// The requests that a page can make: a WebSocket's, a stream's, a poll's, and a command's.
const REQUESTS: [(&str, &str, u16, &[&str]); 4] = [
    (
        "GET",
        "/realtime/ws?room=a",
        101,
        &[
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    ),
    ("GET", "/realtime/sse?room=a&from=p1.1.1", 200, &["accept: text/event-stream"]),
    ("GET", "/realtime/poll?room=a", 200, &[]),
    ("POST", "/realtime/send", 200, &[]),
];

async fn server(origins: Origins) -> Server {
    let hub = Hub::builder().gate(gate::open()).build();
    Server::with_service(tidings::service(hub).origins(origins)).await
}

/// The status of each of the requests with more headers. Of what has no end the head is enough.
async fn statuses(server: &Server, headers: &[&str]) -> Vec<u16> {
    use tidings_testkit::raw::answer;
    use tokio::{io::AsyncWriteExt, net::TcpStream};
    let mut statuses = Vec::new();
    for (method, target, _, own) in REQUESTS {
        let body = if method == "POST" { r#"{"type":"ping"}"# } else { "" };
        let mut head = format!("{method} {target} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        let host = if headers.iter().any(|line| line.starts_with("host:")) {
            &[][..]
        } else {
            &["host: own.example:8080"]
        };
        for line in own.iter().chain(headers).chain(host) {
            head.push_str(line);
            head.push_str("\r\n");
        }
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("sent");
        let head = answer(&mut stream).await.expect("an answer");
        statuses.push(head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line"));
    }
    statuses
}

const GOOD: [u16; 4] = [101, 200, 200, 200];
const REFUSED: [u16; 4] = [403; 4];

#[tokio::test]
async fn origins_are_compared_by_scheme_host_and_effective_port_on_every_transport() {
    let origins = Origins::same().allow("https://a.example:443").expect("an origin");
    let server = server(origins).await;
    for good in ["https://a.example", "https://A.EXAMPLE", "https://a.example:443", "http://own.example:8080"]
    {
        assert_eq!(statuses(&server, &[&format!("origin: {good}")]).await, GOOD, "{good}");
    }
    for bad in [
        "https://a.example:8443",
        "http://a.example",
        "https://a.example.evil.test",
        "https://evil-a.example",
        "null",
        "garbage",
        "",
        "https://a.example/",
        "https://u:secret@a.example",
        "http://own.example",
    ] {
        assert_eq!(statuses(&server, &[&format!("origin: {bad}")]).await, REFUSED, "{bad:?}");
    }
    let two = ["origin: https://a.example", "origin: https://a.example"];
    assert_eq!(statuses(&server, &two).await, REFUSED);
    assert_eq!(statuses(&server, &[]).await, GOOD, "only browsers have an origin");
}

#[tokio::test]
async fn behind_a_proxy_that_sets_its_own_host_the_named_origins_hold_and_browsers_are_asked() {
    let server = server(Origins::same().allow("https://a.example").expect("an origin")).await;
    let host = "host: 10.0.0.7:9000";
    assert_eq!(statuses(&server, &[host, "origin: https://a.example"]).await, GOOD);
    let own = "origin: https://own.example";
    assert_eq!(statuses(&server, &[host, own]).await, REFUSED);
    assert_eq!(statuses(&server, &[host, own, "sec-fetch-site: same-origin"]).await, GOOD);
    assert_eq!(statuses(&server, &[host, own, "sec-fetch-site: same-site"]).await, REFUSED);
    // A proxy is not believed about hosts, whatever it says.
    assert_eq!(statuses(&server, &[host, own, "x-forwarded-host: own.example"]).await, REFUSED);
    assert_eq!(statuses(&server, &[host, own, "forwarded: host=own.example"]).await, REFUSED);
}

/// Images, scripts and requests whose answer nobody may see come with cookies and without an origin.
#[tokio::test]
async fn a_part_of_another_sites_page_is_refused_although_it_names_no_origin() {
    let server = server(Origins::same().allow("https://a.example").expect("an origin")).await;
    for site in ["cross-site", "same-site"] {
        let site = format!("sec-fetch-site: {site}");
        assert_eq!(statuses(&server, &[&site]).await, REFUSED, "{site}");
        assert_eq!(statuses(&server, &[&site, "sec-fetch-mode: no-cors"]).await, REFUSED, "{site}");
        // A link that was followed, and a page that shows who it is.
        assert_eq!(statuses(&server, &[&site, "sec-fetch-mode: navigate"]).await, GOOD, "{site}");
        assert_eq!(statuses(&server, &[&site, "origin: https://a.example"]).await, GOOD, "{site}");
    }
    for site in ["same-origin", "none"] {
        assert_eq!(statuses(&server, &[&format!("sec-fetch-site: {site}")]).await, GOOD, "{site}");
    }
    assert_eq!(statuses(&self::server(Origins::any()).await, &["sec-fetch-site: cross-site"]).await, GOOD);
}

#[tokio::test]
async fn pages_without_an_origin_are_let_in_only_if_that_is_said() {
    let server = server(Origins::same().allow("null").expect("an origin")).await;
    assert_eq!(statuses(&server, &["origin: null"]).await, GOOD);
    assert_eq!(statuses(&server, &["origin: https://a.example"]).await, REFUSED);
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_reason_once_a_second_and_without_secrets() {
    const SECRET: &str = "QxZ7secretQxZ7";
    for (headers, reason) in [
        (&["origin: https://evil.example"][..], "https://evil.example:443 is neither"),
        (&["origin: null"], "null is neither"),
        (&["origin: https://a.example", "origin: https://b.example"], "it names several origins"),
        (&["origin: https://u:QxZ7secretQxZ7@a.example"], "what it names is no origin"),
        (&["origin: QxZ7secretQxZ7"], "what it names is no origin"),
    ] {
        let (log, _logging) = Log::begin();
        let server = server(Origins::same()).await;
        let cookie = format!("cookie: session={SECRET}");
        let headers: Vec<_> = headers.iter().copied().chain([cookie.as_str()]).collect();
        for _ in 0..3 {
            let target = format!("/realtime/poll?room=a&token={SECRET}");
            let answer = request(server.address(), "GET", &target, &headers, "").await.expect("an answer");
            assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("origin")));
        }
        let lines = log.lines(&["a page's request is refused", reason]);
        assert_eq!(lines.len(), 1, "{reason}: {lines:?}");
        assert!(lines[0].contains("path=\"poll\""), "{lines:?}");
        let ours = log.lines(&["tidings", SECRET]);
        assert!(ours.is_empty(), "{ours:?}");
    }
}
