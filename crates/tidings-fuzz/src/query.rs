//! The query of a request, and what it asks for.
//!
//! Input: a byte that says how long the `Last-Event-ID` is (0: there is none), that id, and the query.

use crate::input::Input;
use http::Request;
use tidings_http::{Asked, Query};

/// Reads a query as we do and as a simpler reader does.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let id = usize::from(input.byte());
    let id = input.take(id);
    let Ok(text) = str::from_utf8(input.rest()) else { return };
    let simple = simple(text);
    let query = Query::parse(text);
    assert_eq!(query.is_ok(), simple.is_some(), "it is refused if it is not UTF-8");
    let (Ok(query), Some(simple)) = (query, simple) else { return };
    for (name, _) in &simple {
        let values: Vec<_> =
            simple.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert!(query.all(name).eq(values.iter().copied()));
        match values[..] {
            [value] => assert_eq!(query.one(name).ok(), Some(Some(value.as_str()))),
            _ => assert!(query.one(name).is_err()),
        }
    }
    asked(&query, id);
}

/// Rooms as they are asked for: sorted, each once, no more than the limit.
fn asked(query: &Query<'_>, id: &[u8]) {
    let mut request = Request::get("/");
    if !id.is_empty() {
        request = request.header("last-event-id", id);
    }
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    let Ok(asked) = Asked::parse(&head, query, ROOMS) else { return };
    assert!(asked.rooms.len() <= ROOMS && asked.rooms.is_sorted_by(|(a, _), (b, _)| a < b));
    assert_eq!(asked.rooms.len(), query.all("room").count(), "no room is lost");
}

/// `application/x-www-form-urlencoded` (WHATWG URL §5.1), byte by byte; `None` if something is not UTF-8.
fn simple(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    for field in text.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        fields.push((decoded(name)?, decoded(value)?));
    }
    Some(fields)
}

fn decoded(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                out.push((hex(high)? * 16 + hex(low)?) as u8);
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}

/// Rooms of one request, at most.
const ROOMS: usize = 8;
