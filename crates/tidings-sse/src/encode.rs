//! Writing event streams (WHATWG HTML §9.2.5).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::{
    fmt::Display,
    sync::{Arc, LazyLock},
};
use tidings_core::{Content, Encoder, EncodingId, Json, Notice, Standing, Transport};

/// Appends one event: an id line where there is an id, a type line where there is a type, and the data, which a
/// line end of any kind splits into several data lines. The reader sees each as a line feed (§9.2.6), so what is
/// in the data can never become a field of its own.
///
/// The id and the type hold no line end and no NUL: their types see to it.
pub fn put_event(id: Option<&dyn Display>, event: Option<&str>, data: &[u8], out: &mut BytesMut) {
    if let Some(id) = id {
        put_id(id, out);
    }
    if let Some(event) = event {
        out.put_slice(b"event: ");
        out.put_slice(event.as_bytes());
        out.put_u8(b'\n');
    }
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        out.put_slice(b"data: ");
        out.put_slice(&rest[..end.unwrap_or(rest.len())]);
        out.put_u8(b'\n');
        let Some(end) = end else { break };
        // A CR and the LF after it are one line end.
        let pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if pair { 2 } else { 1 }..];
    }
    out.put_u8(b'\n');
}

/// Appends an id line, for the event that follows.
fn put_id(id: &dyn Display, out: &mut BytesMut) {
    put_line("id", id, out);
}

fn put_line(field: &str, value: &dyn Display, out: &mut BytesMut) {
    use std::fmt::Write;
    // A buffer that grows refuses nothing.
    let _ = writeln!(out, "{field}: {value}");
}

/// A comment: keeps the connection alive and tells nothing.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// A sign of life: what is written when nothing else is, by itself and as a chunk.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) plain: &'static [u8],
    pub(crate) chunk: &'static [u8],
}

impl Life {
    /// A comment, which is no event to anybody.
    pub(crate) const COMMENT: &Self = &Self { plain: KEEP_ALIVE, chunk: b"3\r\n:\n\n\r\n" };
    /// An event, for a browser's own event source, which does not show comments to its page.
    pub(crate) const EVENT: &Self = &Self {
        plain: b"data: {\"type\":\"alive\"}\n\n",
        chunk: b"18\r\ndata: {\"type\":\"alive\"}\n\n\r\n",
    };
}

/// How messages look on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// The event's name as the type, its payload as the data.
    #[default]
    Plain,
    /// As the data the same JSON as a WebSocket frame, and no type.
    Json,
}

/// Appends bytes as a chunk of HTTP/1.1 (RFC 9112 §7.1); nothing, if there are none, for that would be the end.
pub(crate) fn put_chunk(bytes: &[u8], out: &mut BytesMut) {
    use std::fmt::Write;
    if bytes.is_empty() {
        return;
    }
    out.reserve(bytes.len() + 20);
    // A buffer that grows refuses nothing.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// What is in chunks, all of which are whole and our own; a single one is not copied.
pub(crate) fn unchunk(chunks: &Bytes) -> Bytes {
    let (mut rest, mut parts) = (chunks.clone(), Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\r') {
        let size = str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        rest.advance(end + 2);
        parts.push(rest.split_to(size.expect("a size begins a chunk")));
        rest.advance(2);
    }
    match &mut parts[..] {
        [one] => std::mem::take(one),
        parts => parts.concat().into(),
    }
}

/// The byte forms of messages on an event stream: with the id of one room, or without, where the session writes
/// the id over all its rooms itself; and as chunks, where nobody else makes them.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: Format,
    many: bool,
    chunked: bool,
}

impl Form {
    /// Its place among all forms.
    fn place(self) -> usize {
        usize::from(self.format == Format::Json)
            | usize::from(self.many) << 1
            | usize::from(self.chunked) << 2
    }

    /// Appends what `put` appends, in a chunk if it must be.
    fn frame(self, out: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
        if !self.chunked {
            return put(out);
        }
        let mut bytes = BytesMut::new();
        put(&mut bytes);
        put_chunk(&bytes, out);
    }
}

impl Encoder for Form {
    fn id(&self) -> EncodingId {
        EncodingId::new(match (self.format, self.many, self.chunked) {
            (Format::Plain, false, false) => "sse",
            (Format::Plain, true, false) => "sse-many",
            (Format::Json, false, false) => "sse-json",
            (Format::Json, true, false) => "sse-json-many",
            (Format::Plain, false, true) => "sse-chunk",
            (Format::Plain, true, true) => "sse-many-chunk",
            (Format::Json, false, true) => "sse-json-chunk",
            (Format::Json, true, true) => "sse-json-many-chunk",
        })
    }

    fn encode(&self, message: &Content, out: &mut BytesMut) {
        let id = message.id().filter(|_| !self.many);
        let id = id.as_ref().map(|id| id as &dyn Display);
        self.frame(out, |out| match self.format {
            Format::Plain => put_event(id, Some(message.event().name()), message.event().data(), out),
            Format::Json => {
                let mut json = BytesMut::new();
                Json.encode(message, &mut json);
                put_event(id, None, &json, out);
            }
        });
    }
}

/// The transport of event streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sse(Form);

impl Sse {
    /// For a session in so many rooms; in chunks, where hyper does not make them. All of a kind share it.
    pub(crate) fn shared(format: Format, rooms: usize, chunked: bool) -> Arc<dyn Transport> {
        let form = Form { format, many: rooms > 1, chunked };
        Arc::clone(&FORMS[form.place()]) as Arc<dyn Transport>
    }
}

static FORMS: LazyLock<[Arc<Sse>; 8]> = LazyLock::new(|| {
    std::array::from_fn(|place| {
        let format = if place & 1 == 0 { Format::Plain } else { Format::Json };
        Arc::new(Sse(Form { format, many: place & 2 != 0, chunked: place & 4 != 0 }))
    })
});

impl Transport for Sse {
    fn name(&self) -> &'static str {
        "sse"
    }

    fn encoder(&self) -> &dyn Encoder {
        &self.0
    }

    fn marks(&self) -> bool {
        self.0.many
    }

    fn mark(&self, standing: Standing<'_>, out: &mut BytesMut) {
        let (rooms, cursor) = standing.cursor();
        self.0.frame(out, |out| put_id(&cursor.display(&rooms), out));
    }

    fn notice(&self, notice: &Notice, standing: Standing<'_>, out: &mut BytesMut) {
        self.0.frame(out, |out| put_notice(self.0.format, notice, standing, out));
    }
}

fn put_notice(format: Format, notice: &Notice, standing: Standing<'_>, out: &mut BytesMut) {
    let event = match notice {
        Notice::Hello { .. } => "tidings.hello",
        Notice::Refused { .. } => "tidings.error",
        Notice::Joined { .. } => "tidings.joined",
        Notice::Gap { .. } => "tidings.gap",
        Notice::End { .. } => "tidings.end",
        Notice::Close { retry, .. } => {
            if let Some(window) = retry {
                put_retry(*window, out);
            }
            "tidings.close"
        }
        // No command comes on this way, so nothing is answered.
        _ => return,
    };
    let (rooms, cursor) = standing.cursor();
    // So that a browser holds its place although no event may ever come.
    let id = cursor.display(&rooms);
    let json = notice.to_json();
    match format {
        Format::Plain => put_event(Some(&id), Some(event), json.as_bytes(), out),
        Format::Json => put_event(Some(&id), None, json.as_bytes(), out),
    }
}

/// Appends when a browser is to come back: somewhere in the window, chosen here, because browsers that lost one
/// server at once would return at once.
pub(crate) fn put_retry([least, most]: [u32; 2], out: &mut BytesMut) {
    use std::hash::{BuildHasher, RandomState};
    let width = u64::from(most.saturating_sub(least)) + 1;
    let retry = u64::from(least) + RandomState::new().hash_one(0_u8) % width;
    put_line("retry", &retry, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Parser;

    fn round(data: &str) -> Vec<(String, String, String)> {
        let mut out = BytesMut::new();
        put_event(Some(&"p1.2.3"), Some("chat"), data.as_bytes(), &mut out);
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        parser.feed(&out, |event| events.push(event)).unwrap();
        events.into_iter().map(|event| (event.id, event.event, event.data)).collect()
    }

    #[test]
    fn no_data_becomes_a_field() {
        for (data, seen) in [
            ("a\r\nb", "a\nb"),
            ("a\rb", "a\nb"),
            ("a\nb", "a\nb"),
            ("a\n\nb", "a\n\nb"),
            ("a\n\r\nb", "a\n\nb"),
            (" a", " a"),
            ("", ""),
            ("a\r", "a\n"),
            ("x\rid: 9\revent: evil\n\ndata: y", "x\nid: 9\nevent: evil\n\ndata: y"),
            (": c", ": c"),
            ("\u{feff}é\0", "\u{feff}é\0"),
        ] {
            let one = vec![("p1.2.3".to_owned(), "chat".to_owned(), seen.to_owned())];
            assert_eq!(round(data), one, "{data:?}");
        }
    }

    #[test]
    fn chunks_are_taken_apart() {
        for parts in [&[&b"a"[..]][..], &[b"one", b"\r\n0\r\n\r\n"], &[b"x", &[b'y'; 5_000], b"z\n\n"], &[]] {
            let mut chunks = BytesMut::new();
            parts.iter().for_each(|part| put_chunk(part, &mut chunks));
            let chunks = chunks.freeze();
            let plain = unchunk(&chunks);
            assert_eq!(plain, parts.concat());
            let shared = chunks.as_ptr_range().contains(&plain.as_ptr());
            assert_eq!(shared, parts.len() == 1, "one is not copied");
        }
    }

    #[test]
    fn a_retry_lies_in_its_window() {
        for _ in 0..100 {
            let mut out = BytesMut::new();
            put_retry([500, 503], &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            let retry: u32 = text.strip_prefix("retry: ").unwrap().trim_end().parse().unwrap();
            assert!((500..=503).contains(&retry));
        }
    }
}
