//! Event streams, read and written.
//!
//! Input: a byte of choices (odd: what follows is the data of an event to write and to read, else a stream), two bytes
//! for the limit, cuts, and the bytes.

use crate::input::{Cuts, Input};
use bytes::BytesMut;
use tidings_sse::{encode::put_event, parse::Parser};

/// Reads a stream in one piece and in many, and as the specification says.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let limit = input.pair().into();
    let cuts = input.cuts();
    let bytes = input.rest();
    if choice & 1 == 1 { round_trip(bytes, cuts) } else { stream(bytes, limit, cuts) }
}

fn stream(bytes: &[u8], limit: usize, cuts: Cuts<'_>) {
    let whole = read(limit, [bytes]);
    let cut = read(limit, cuts.pieces(bytes));
    assert_eq!(whole, cut, "a cut makes a difference");
    // What is not UTF-8 becomes replacement characters of three bytes.
    let longest = 3 * limit + 3;
    for event in &whole.events {
        assert!([&event.0, &event.1, &event.2].iter().all(|part| part.len() <= longest));
    }
    let simple = simple(bytes);
    if whole.too_long {
        assert!(simple.events.starts_with(&whole.events));
    } else {
        assert_eq!(whole, simple);
    }
}

/// The last event id, the type and the data of an event.
type Event = (String, String, String);

#[derive(Debug, Default, PartialEq)]
struct Read {
    events: Vec<Event>,
    last_id: String,
    retry: Option<u64>,
    too_long: bool,
}

fn read<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    let too_long = pieces
        .into_iter()
        .any(|piece| parser.feed(piece, |event| events.push((event.id, event.event, event.data))).is_err());
    if too_long {
        // The parser is of no further use.
        return Read { events, too_long, ..Read::default() };
    }
    Read { events, last_id: parser.last_event_id().to_owned(), retry: parser.retry(), too_long }
}

/// The stream as WHATWG HTML §9.2.6 reads it, all at once.
fn simple(bytes: &[u8]) -> Read {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut read, mut id, mut event, mut data) =
        (Read::default(), String::new(), String::new(), String::new());
    // What follows the last line end is no line.
    let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for line in lines.split('\n').filter(|_| text.contains('\n')) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                read.last_id.clone_from(&id);
                let (event, data) = (std::mem::take(&mut event), std::mem::take(&mut data));
                let event = if event.is_empty() { "message".to_owned() } else { event };
                if let Some(data) = data.strip_suffix('\n') {
                    read.events.push((id.clone(), event, data.to_owned()));
                }
            }
            "data" => data += &format!("{value}\n"),
            "event" => value.clone_into(&mut event),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                read.retry = value.parse().ok().or(read.retry);
            }
            _ => {}
        }
    }
    read
}

/// No data can become a field.
fn round_trip(bytes: &[u8], cuts: Cuts<'_>) {
    let data = String::from_utf8_lossy(bytes);
    let mut out = BytesMut::new();
    put_event(Some(&"p1.2.3"), Some("chat"), data.as_bytes(), &mut out);
    let read = read(1 << 20, cuts.pieces(&out));
    let data = data.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(read.events, [("p1.2.3".to_owned(), "chat".to_owned(), data)]);
    assert_eq!((read.last_id.as_str(), read.retry, read.too_long), ("p1.2.3", None, false));
}
