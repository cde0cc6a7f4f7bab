//! What the request of a subscription asks for.

use crate::{Peer, Query, Refusal};
use http::{StatusCode, header::HeaderName, request::Parts};
use std::sync::Arc;
use tidings_core::{Address, Cursor, From, Hub, Identity, Notice, RoomName, Session, Transport};

/// The rooms that a request names, each with where to begin, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// The rooms.
    pub rooms: Vec<(RoomName, From)>,
    /// Whether the client came with a cursor.
    pub resumed: bool,
    /// Whether the client wants to be told what it may ask for, and of each room by itself whether it may enter.
    pub hello: bool,
    /// Where the client is, where that counts.
    pub address: Option<Address>,
}

impl Asked {
    /// Reads `room` and `from` (or `cursor`, which is the same) from a query, and `Last-Event-ID` from the head,
    /// which wins: a browser that reconnects repeats its URL as it was.
    ///
    /// `from` may stand once for all rooms (`now`, `start`, a cursor), or once for each `room`, in their order.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub fn parse(head: &Parts, query: &Query<'_>, max: usize) -> Result<Self, Refusal> {
        let mut rooms = Vec::new();
        for name in query.all("room") {
            rooms.push(RoomName::new(name)?);
        }
        if rooms.len() > max {
            return Err(Refusal::of("too_many_rooms", format!("at most {max} rooms in one request")));
        }
        let mut froms: Vec<&str> = query.all("from").chain(query.all("cursor")).collect();
        let last_event_id = last_event_id(head)?;
        if let Some(id) = last_event_id {
            froms = vec![id];
        }
        let rooms = match froms[..] {
            [] => pair(rooms, std::iter::repeat(From::Now))?,
            [one] => begin_at(rooms, one)?,
            _ if froms.len() == rooms.len() => {
                let each =
                    rooms.iter().zip(&froms).map(|(room, from)| begin(from, std::slice::from_ref(room)));
                let each = each.collect::<Result<Vec<_>, Refusal>>()?;
                pair(rooms, each.into_iter().flatten())?
            }
            _ => {
                let message = "\"from\" stands once, or once for each \"room\"";
                return Err(Refusal::of("bad_query", message));
            }
        };
        let resumed = rooms.iter().any(|(_, from)| matches!(from, From::After(_)));
        let hello = query.one("hello")?.is_some_and(|hello| hello == "1");
        let address = Peer::of(head).and_then(Peer::address);
        Ok(Self { rooms, resumed, hello, address })
    }

    /// Whether a session that this opened has everything there will ever be in its rooms.
    pub fn is_over(&self, session: &Session) -> bool {
        // A room that was refused is still to be told of.
        self.resumed && session.rooms() == self.rooms.len() && session.is_at_end()
    }

    /// Refuses a request that names no room.
    ///
    /// # Errors
    /// 400 if there is none.
    pub fn some(self) -> Result<Self, Refusal> {
        if self.rooms.is_empty() {
            return Err(Refusal::of("bad_room", "name a room in the query: ?room=<name>"));
        }
        Ok(self)
    }

    /// Who asks: whom the query's `ticket` stands for, or else who the gate says that it is. To be asked last, for a ticket is
    /// used up by it.
    ///
    /// # Errors
    /// If it is nobody.
    pub async fn identify(&self, hub: &Hub, head: &Parts, query: &Query<'_>) -> Result<Identity, Refusal> {
        match query.one("ticket")? {
            Some(ticket) => Ok(hub.redeem(ticket)?),
            None => Ok(hub.connect(head).await?),
        }
    }

    /// Begins a session and enters all rooms.
    ///
    /// # Errors
    /// If there are too many sessions, or if the hub does not let the client into one of them, unless the client asked for `hello`: then the session
    /// says so itself.
    pub async fn open(
        &self,
        hub: &Hub,
        transport: Arc<dyn Transport>,
        identity: Identity,
    ) -> Result<Session, Refusal> {
        let left = hub.time_left(&identity);
        let mut session = hub.attach(transport, identity, self.address)?;
        if self.hello {
            session.tell(Notice::hello(hub.limits(), left));
        }
        for (room, from) in &self.rooms {
            match session.join(room.clone(), *from).await {
                Ok(_) => {}
                Err(error) if self.hello => session.tell(Notice::Refused {
                    room: room.clone(),
                    code: error.code(),
                    message: error.to_string(),
                }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(session)
    }
}

fn last_event_id(head: &Parts) -> Result<Option<&str>, Refusal> {
    let Some(value) = head.headers.get(LAST_EVENT_ID) else { return Ok(None) };
    match value.to_str() {
        // An event stream that has not seen an id yet sends none, or an empty one.
        Ok("") => Ok(None),
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_cursor", "Last-Event-ID is not a cursor")),
    }
}

/// One `from` for all rooms.
fn begin_at(mut rooms: Vec<RoomName>, from: &str) -> Result<Vec<(RoomName, From)>, Refusal> {
    rooms.sort();
    let begins = begin(from, &rooms)?;
    pair(rooms, begins)
}

fn begin(from: &str, sorted: &[RoomName]) -> Result<Vec<From>, Refusal> {
    match from {
        "now" => Ok(vec![From::Now; sorted.len()]),
        "start" => Ok(vec![From::Start; sorted.len()]),
        text => {
            let cursor = Cursor::parse(text, sorted)?;
            Ok(cursor.positions().iter().copied().map(From::After).collect())
        }
    }
}

fn pair(
    rooms: Vec<RoomName>,
    begins: impl IntoIterator<Item = From>,
) -> Result<Vec<(RoomName, From)>, Refusal> {
    let mut pairs: Vec<_> = rooms.into_iter().zip(begins).collect();
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    match pairs.windows(2).find(|two| two[0].0 == two[1].0) {
        None => Ok(pairs),
        Some(two) => Err(Refusal::of("bad_room", format!("the room {:?} is named twice", two[0].0.as_str()))),
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::Position;

    fn asked(query: &str, id: Option<&str>) -> Result<Asked, Refusal> {
        let mut request = http::Request::get("/");
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Asked::parse(&head, &Query::parse(query).unwrap(), 3)
    }

    fn rooms(query: &str, id: Option<&str>) -> Vec<(String, From)> {
        asked(query, id).unwrap().rooms.into_iter().map(|(room, from)| (room.to_string(), from)).collect()
    }

    fn at(offset: u64) -> From {
        From::After(Position { epoch: 1, offset, tag: 0 })
    }

    #[test]
    fn each_room_has_its_own_beginning() {
        let both = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(rooms("room=b&room=a", None), both(From::Now, From::Now));
        assert_eq!(rooms("room=b&room=a&from=start", None), both(From::Start, From::Start));
        assert_eq!(rooms("room=b&from=p1.2.0&room=a&from=now", None), both(From::Now, at(2)));
        assert_eq!(rooms("room=a&cursor=p1.2.0", None), vec![("a".to_owned(), at(2))]);
    }

    #[test]
    fn the_last_event_id_wins_over_the_url() {
        assert_eq!(rooms("room=a&from=start", Some("p1.5.0")), vec![("a".to_owned(), at(5))]);
        assert_eq!(rooms("room=a&from=start", Some("")), vec![("a".to_owned(), From::Start)]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "room=",
            "room=a&room=a",
            "room=a&from=yesterday",
            "room=a&room=b&from=p1.2.0",
            "room=a&from=now&from=now",
            "room=a&room=b&room=c&room=d",
            "room=%00",
        ] {
            assert_eq!(asked(bad, None).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
        assert!(asked("", None).unwrap().some().is_err());
    }
}
