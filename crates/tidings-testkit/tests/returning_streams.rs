//! A browser's event stream comes back as browsers do: with the address that the page was opened with, and in a
//! header the last id it saw.

use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tidings::{Event, Limits, Position};
use tidings_sse::parse::{Parser, StreamEvent};
use tidings_testkit::{Server, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SOON: Duration = Duration::from_secs(10);
const ROOMS: [&str; 3] = ["c", "a", "b"];

/// What a page holds: an address, and the id of the last event.
struct Page {
    target: String,
    id: String,
}

impl Page {
    fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), id: String::new() }
    }

    /// Opens the stream, as at first so after every loss.
    async fn open(&mut self, server: &Server) -> Stream<'_> {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        // HTTP/1.0: the answer is not chunked, so its bytes are the stream.
        let mut request = format!("GET {} HTTP/1.0\r\nHost: a\r\nAccept: text/event-stream\r\n", self.target);
        if !self.id.is_empty() {
            request += &format!("Last-Event-ID: {}\r\n", self.id);
        }
        stream.write_all((request + "\r\n").as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(SOON, "the head", stream.read_u8()).await.expect("still open"));
        }
        let head = String::from_utf8(head).expect("a head is ASCII");
        assert_eq!(head.split(' ').nth(1), Some("200"), "{head}");
        Stream { page: self, stream, parser: Parser::new(1 << 20), events: Vec::new().into_iter() }
    }
}

struct Stream<'a> {
    page: &'a mut Page,
    stream: TcpStream,
    parser: Parser,
    events: std::vec::IntoIter<StreamEvent>,
}

impl Stream<'_> {
    /// The next event that is not a word of the protocol's own, as a browser would hand it to a page.
    async fn event(&mut self) -> Value {
        loop {
            for event in self.events.by_ref() {
                self.page.id = event.id;
                if event.event == "n" {
                    return serde_json::from_str(&event.data).expect("JSON");
                }
                assert_eq!(event.event, "tidings.joined", "{}", event.data);
            }
            let mut piece = [0; 4_096];
            let read = within(SOON, "an event", self.stream.read(&mut piece)).await.expect("still open");
            assert!(read > 0, "the stream ended");
            let mut events = Vec::new();
            self.parser.feed(&piece[..read], |event| events.push(event)).expect("a short event");
            self.events = events.into_iter();
        }
    }
}

/// Room and number in one payload, for an event stream does not name the room.
async fn publish(server: &Server, room: &str, number: u64) -> Position {
    let event = Event::json("n", &(room, number)).expect("JSON");
    server.hub().publish(room, event).await.expect("published")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_return_without_new_events_repeats_nothing() {
    let server = Server::start().await;
    let mut page = Page::new("/realtime/sse?room=r");
    let mut stream = page.open(&server).await;
    // The stream is there once its first id is.
    server.until_sessions(1, SOON).await;
    server.publish("r", 1).await;
    assert_eq!(stream.event().await, 1);
    drop(stream);
    for number in 2..=10 {
        server.publish("r", number).await;
    }
    let mut stream = page.open(&server).await;
    for number in 2..=10 {
        assert_eq!(stream.event().await, number);
    }
    drop(stream);
    let mut stream = page.open(&server).await;
    // If anything were repeated it would come before this one.
    server.publish("r", 11).await;
    assert_eq!(stream.event().await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_over_several_rooms_goes_from_connection_to_connection() {
    let server = Server::start().await;
    let mut page = Page::new("/realtime/sse?room=c&room=a&room=b&from=start");
    let mut last = BTreeMap::new();
    for round in 0..12 {
        for room in ROOMS {
            for number in round * 3 + 1..=round * 3 + 3 {
                publish(&server, room, number).await;
            }
        }
        // Leaves in the middle of what there is; what it has not read it must be given again.
        let mut stream = page.open(&server).await;
        for _ in 0..if round == 11 { 108 - 11 * 7 } else { 7 } {
            let data = stream.event().await;
            let before = last.entry(data[0].as_str().expect("a room").to_owned()).or_insert(0);
            assert_eq!(data[1], *before + 1, "in room {}", data[0]);
            *before += 1;
        }
        assert!(page.id.starts_with('v'), "{}", page.id);
    }
    assert_eq!(last.values().copied().collect::<Vec<_>>(), [36, 36, 36]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_over_as_many_rooms_as_are_allowed_fits_a_header() {
    let server = Server::start().await;
    let max = Limits::default().rooms;
    let names: Vec<_> = (0..max).map(|number| format!("{number:03}")).collect();
    for name in &names {
        // An offset of two bytes each, as after some use.
        for number in 0..130 {
            publish(&server, name, number).await;
        }
    }
    let query: Vec<_> = names.iter().map(|name| format!("room={name}")).collect();
    let mut page = Page::new(format!("/realtime/sse?{}", query.join("&")));
    let mut stream = page.open(&server).await;
    publish(&server, &names[0], 130).await;
    assert_eq!(stream.event().await, serde_json::json!(["000", 130]));
    drop(stream);
    assert!(page.id.len() < 8_000, "an id of {} bytes: more than common proxies let through", page.id.len());
    publish(&server, &names[max - 1], 131).await;
    let mut stream = page.open(&server).await;
    assert_eq!(stream.event().await, serde_json::json!([names[max - 1], 131]));
}
