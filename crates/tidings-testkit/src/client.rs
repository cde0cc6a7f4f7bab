//! Clients that know nothing of the server's code, one shape for each transport.

use crate::{
    http::{Connection, begin, request},
    within,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{collections::VecDeque, fmt, net::SocketAddr, time::Duration};
use tidings_sse::parse::Parser;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest},
};

/// The transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "every test names them all")]
pub enum Kind {
    /// WebSocket.
    Ws,
    /// Server-Sent Events.
    Sse,
    /// Long-polling.
    Poll,
}

impl Kind {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a test must look at each")]
pub enum Heard {
    /// It is in a room. Long-polling hears it as its first answer.
    Joined {
        /// The cursor.
        cursor: String,
        /// Whether everything since the old cursor follows.
        recovered: bool,
    },
    /// An event.
    Event {
        /// The room, where the transport tells it.
        room: Option<String>,
        /// The cursor after it.
        cursor: String,
        /// Its name.
        event: String,
        /// Its payload.
        data: Value,
    },
    /// A gap.
    Gap {
        /// From where things go on.
        cursor: String,
        /// The room.
        room: String,
        /// Why.
        reason: String,
    },
    /// Any other object.
    Other(Value),
}

/// The server said no.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Refused {
    /// The HTTP status; 0 if the connection broke.
    pub status: u16,
    /// The code of the error.
    pub code: String,
}

/// A client of one or more rooms over one transport. Dropping it closes its connection.
pub struct Client {
    address: SocketAddr,
    headers: Vec<String>,
    rooms: Vec<String>,
    cursor: String,
    link: Link,
    heard: VecDeque<Heard>,
}

#[allow(clippy::large_enum_variant, reason = "a handful of them in a test")]
enum Link {
    Ws(WebSocketStream<TcpStream>),
    Sse { body: hyper::body::Incoming, parser: Parser, _connection: Connection },
    Poll,
}

impl Client {
    /// Connects to one room and waits until it is in: `from` is `now`, `start` or a cursor.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn connect(kind: Kind, address: SocketAddr, room: &str, from: &str) -> Result<Self, Refused> {
        Self::connect_many(kind, address, &[room], from).await
    }

    /// Connects to one room with more headers, as `name: value` lines, on each of its requests.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn connect_with(
        kind: Kind,
        address: SocketAddr,
        room: &str,
        from: &str,
        headers: &[&str],
    ) -> Result<Self, Refused> {
        Self::begin(kind, address, &[room], from, headers).await
    }

    /// Connects to several rooms. On WebSocket the cursor is that of the last event's room alone.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn connect_many(
        kind: Kind,
        address: SocketAddr,
        rooms: &[&str],
        from: &str,
    ) -> Result<Self, Refused> {
        Self::begin(kind, address, rooms, from, &[]).await
    }

    async fn begin(
        kind: Kind,
        address: SocketAddr,
        rooms: &[&str],
        from: &str,
        headers: &[&str],
    ) -> Result<Self, Refused> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let mut client = Self {
            address,
            headers: owned(headers),
            rooms: owned(rooms),
            cursor: from.to_owned(),
            link: Link::Poll,
            heard: VecDeque::new(),
        };
        let query = client.query("from");
        match kind {
            Kind::Ws => {
                let target = format!("/realtime/ws?{query}");
                client.link = Link::Ws(upgrade(address, &target, headers).await?);
            }
            Kind::Sse => {
                let target = format!("/realtime/sse?{query}");
                let (head, body, connection) =
                    begin(address, "GET", &target, headers, Bytes::new()).await.map_err(|_| BROKEN)?;
                if head.status != 200 {
                    let body = body.collect().await.map_err(|_| BROKEN)?.to_bytes();
                    return Err(refused(head.status.as_u16(), &body));
                }
                client.link = Link::Sse { body, parser: Parser::new(16 << 20), _connection: connection };
            }
            // Joining shows in the first answer; with a cursor there is nothing to wait for.
            Kind::Poll if from == "now" => client.poll_once().await?,
            Kind::Poll => client.heard.push_back(Heard::Joined { cursor: from.to_owned(), recovered: true }),
        }
        for _ in 0..client.rooms.len() {
            match client.next().await {
                Some(Heard::Joined { .. }) if kind == Kind::Poll => break,
                Some(Heard::Joined { .. }) => {}
                Some(other) => panic!("{other:?} came before the room was joined"),
                None => return Err(BROKEN),
            }
        }
        Ok(client)
    }

    /// Where it stands.
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The next thing it hears; none when the connection has ended.
    ///
    /// # Panics
    /// If what came is not of the protocol.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                match &heard {
                    Heard::Joined { cursor, .. }
                    | Heard::Event { cursor, .. }
                    | Heard::Gap { cursor, .. } => {
                        self.cursor.clone_from(cursor);
                    }
                    Heard::Other(_) => {}
                }
                return Some(heard);
            }
            match &mut self.link {
                Link::Ws(socket) => match socket.next().await?.ok()? {
                    tungstenite::Message::Text(text) => {
                        let value = serde_json::from_str(&text).expect("a text frame is JSON");
                        self.heard.push_back(hear(value, None));
                    }
                    tungstenite::Message::Close(_) => return None,
                    _ => {}
                },
                Link::Sse { body, parser, .. } => {
                    let data = body.frame().await?.ok()?.into_data().ok()?;
                    let heard = &mut self.heard;
                    parser
                        .feed(&data, |event| {
                            let value = serde_json::from_str(&event.data).expect("the data is JSON");
                            heard.push_back(match event.event.as_str() {
                                name if name.starts_with("tidings.") => hear(value, Some(event.id)),
                                _ => Heard::Event {
                                    room: None,
                                    cursor: event.id,
                                    event: event.event,
                                    data: value,
                                },
                            });
                        })
                        .expect("no event is that long");
                }
                Link::Poll => self.poll_once().await.ok()?,
            }
        }
    }

    /// The next event's payload as a number.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn number(&mut self) -> u64 {
        match within(PATIENCE, "an event", self.next()).await {
            Some(Heard::Event { data, .. }) => data.as_u64().expect("the payload is a number"),
            other => panic!("{other:?} came instead of an event"),
        }
    }

    /// Publishes over this transport's own way up, and gives the answer.
    ///
    /// # Panics
    /// If the connection breaks before the answer.
    pub async fn publish(&mut self, event: &str, data: Value, key: Option<&str>) -> Value {
        let mut command =
            json!({"type": "publish", "ref": 77, "room": self.rooms[0], "event": event, "data": data});
        if let Some(key) = key {
            command["key"] = key.into();
        }
        self.command(&command).await
    }

    /// Sends a command over this transport's own way up, and gives the answer to its `ref`.
    ///
    /// # Panics
    /// If the connection breaks before the answer.
    pub async fn command(&mut self, command: &Value) -> Value {
        let Link::Ws(socket) = &mut self.link else {
            let headers: Vec<_> = self.headers.iter().map(String::as_str).collect();
            let answer = request(self.address, "POST", "/realtime/send", &headers, command.to_string()).await;
            return answer.expect("an answer").json();
        };
        socket.send(tungstenite::Message::text(command.to_string())).await.expect("the connection is up");
        let mut passed = Vec::new();
        loop {
            match within(PATIENCE, "an answer", self.next()).await.expect("an answer before the end") {
                Heard::Other(value) if value["ref"] == command["ref"] => {
                    self.heard.extend(passed);
                    return value;
                }
                heard => passed.push(heard),
            }
        }
    }

    async fn poll_once(&mut self) -> Result<(), Refused> {
        let first = self.cursor == "now";
        let target = format!("/realtime/poll?{}&wait=20", self.query("cursor"));
        let headers: Vec<_> = self.headers.iter().map(String::as_str).collect();
        let answer = request(self.address, "GET", &target, &headers, "").await.map_err(|_| BROKEN)?;
        if answer.status != 200 {
            return Err(refused(answer.status, &answer.body));
        }
        let answer = answer.json();
        let cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
        if first {
            self.heard.push_back(Heard::Joined { cursor: cursor.clone(), recovered: true });
        }
        for item in answer["events"].as_array().expect("events") {
            self.heard.push_back(hear(item.clone(), None));
        }
        // With several rooms only the answer's own cursor speaks of all.
        if self.rooms.len() > 1 {
            for heard in &mut self.heard {
                if let Heard::Event { cursor: own, .. } | Heard::Gap { cursor: own, .. } = heard {
                    own.clone_from(&cursor);
                }
            }
        }
        self.cursor = cursor;
        Ok(())
    }

    fn query(&self, cursor: &str) -> String {
        let rooms: Vec<_> = self.rooms.iter().map(|room| format!("room={room}")).collect();
        match self.cursor.as_str() {
            "now" => rooms.join("&"),
            from => format!("{}&{cursor}={from}", rooms.join("&")),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("rooms", &self.rooms)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// Reads an object of the protocol; `id` is the stream's own, where it has one.
fn hear(value: Value, id: Option<String>) -> Heard {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    match value["type"].as_str() {
        // An answer to a command is for whoever sent it.
        _ if value.get("ref").is_some() => Heard::Other(value),
        Some("joined") => Heard::Joined {
            cursor: id.unwrap_or_else(|| text("cursor")),
            recovered: value["recovered"].as_bool().expect("recovered is true or false"),
        },
        Some("gap") => Heard::Gap {
            cursor: id.unwrap_or_else(|| text("id")),
            room: text("room"),
            reason: text("reason"),
        },
        Some("event") => Heard::Event {
            room: Some(text("room")),
            cursor: id.unwrap_or_else(|| text("id")),
            event: text("event"),
            data: value["data"].clone(),
        },
        _ => Heard::Other(value),
    }
}

async fn upgrade(
    address: SocketAddr,
    target: &str,
    headers: &[&str],
) -> Result<WebSocketStream<TcpStream>, Refused> {
    let stream = TcpStream::connect(address).await.map_err(|_| BROKEN)?;
    stream.set_nodelay(true).map_err(|_| BROKEN)?;
    let mut request =
        format!("ws://{address}{target}").into_client_request().expect("an address and a target are a URL");
    for line in headers {
        let (name, value) = line.split_once(": ").expect("a header line is `name: value`");
        let name: http::HeaderName = name.parse().expect("a header's name");
        request.headers_mut().append(name, value.parse().expect("a header's value"));
    }
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            Err(refused(answer.status().as_u16(), answer.body().as_deref().unwrap_or_default()))
        }
        Err(_) => Err(BROKEN),
    }
}

fn refused(status: u16, body: &[u8]) -> Refused {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    Refused { status, code: value["code"].as_str().unwrap_or_default().to_owned() }
}

/// No test has reason to wait longer.
const PATIENCE: Duration = Duration::from_secs(30);
const BROKEN: Refused = Refused { status: 0, code: String::new() };
