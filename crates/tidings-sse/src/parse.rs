//! Reading event streams, a piece at a time (WHATWG HTML §9.2.6).

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamEvent {
    /// The last event id at the time of the event; it stays until the stream sets another.
    pub id: String,
    /// The type; `message` where the stream names none.
    pub event: String,
    /// The data: its lines joined by line feeds.
    pub data: String,
}

/// A line or an event was longer than the parser's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event of the stream is longer than the limit")
    }
}

impl std::error::Error for TooLong {}

/// An incremental parser. The pieces may be cut anywhere, within characters and line ends too.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    /// The line so far, as bytes: a character may be cut.
    line: Vec<u8>,
    /// The last byte was a CR; an LF that follows belongs to it.
    after_cr: bool,
    /// A byte-order mark may still come off the first line.
    first: bool,
    data: String,
    event: String,
    id: String,
    last_id: String,
    retry: Option<u64>,
}

impl Parser {
    /// A parser that refuses events of more than `limit` bytes: no line may have more, together with the data of its
    /// event before it.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            first: true,
            data: String::new(),
            event: String::new(),
            id: String::new(),
            last_id: String::new(),
            retry: None,
        }
    }

    /// The id to come back with, also where no event carried it.
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    /// The reconnection time in milliseconds, once the stream has set one.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Takes a piece of the stream and gives the events that it completes.
    ///
    /// # Errors
    /// If an event is longer than the limit; the parser is then of no further use.
    pub fn feed(&mut self, bytes: &[u8], mut give: impl FnMut(StreamEvent)) -> Result<(), TooLong> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.extend_from_slice(&rest[..end]);
            let cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if cr {
                match rest.split_first() {
                    Some((b'\n', after)) => rest = after,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            let line = std::mem::take(&mut self.line);
            // As below, so that it makes no difference in how many pieces a line came.
            self.check(line.len())?;
            self.take_line(&line, &mut give)?;
        }
        self.line.extend_from_slice(rest);
        self.check(self.line.len())
    }

    fn check(&self, more: usize) -> Result<(), TooLong> {
        if self.data.len() + more > self.limit { Err(TooLong) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8], give: &mut impl FnMut(StreamEvent)) -> Result<(), TooLong> {
        let line = match std::mem::replace(&mut self.first, false) {
            true => line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            self.dispatch(give);
            return Ok(());
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.check(value.len() + 1)?;
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // One that no number can hold is as good as none.
                self.retry = value.parse().ok().or(self.retry);
            }
            // Comments, and fields that nobody has defined.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, give: &mut impl FnMut(StreamEvent)) {
        self.id.clone_into(&mut self.last_id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        // An event without a data line is none.
        if data.pop().is_some() {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            give(StreamEvent { id: self.last_id.clone(), event, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<StreamEvent>, String, Option<u64>) {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| events.push(event)).unwrap();
        }
        (events, parser.last_event_id().to_owned(), parser.retry())
    }

    const STREAM: &str = "\u{feff}: hello\r\nid: 1\revent: é€😀\ndata: é\rdata: \u{feff}€\r\ndata:😀\n\n\
         data\n\nid: 2\n\nretry: 1000\nretry: x\nid: a\0b\ndata: last\r\r\ndata: not dispatched\n";

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let whole = parse([STREAM.as_bytes()]);
        let event = |id: &str, event: &str, data: &str| StreamEvent {
            id: id.to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        let expected = vec![
            event("1", "é€😀", "é\n\u{feff}€\n😀"),
            event("1", "message", ""),
            event("2", "message", "last"),
        ];
        assert_eq!(whole, (expected, "2".to_owned(), Some(1000)));
        assert_eq!(parse(STREAM.as_bytes().chunks(1)), whole);
        for cut in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(parse([&b""[..], head, b"", tail, b""]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::new(1_000);
        assert_eq!(parser.feed(&[b'x'; 1_001], |_| ()), Err(TooLong));
        let mut parser = Parser::new(1_000);
        let line = b"data: 0123456789\n";
        assert!((0..200).any(|_| parser.feed(line, |_| ()).is_err()));
    }

    #[test]
    fn a_line_is_too_long_in_one_piece_as_in_many() {
        for (stream, too_long) in [
            (&b"data: 0123456789\n\n"[..], false),
            (b"event: 0123456789\n\n", true),
            (b"id: 0123456789abc\n\n", true),
            (b":0123456789abcdef\n\n", true),
            (b"data: 01234\ndata: 01234\n\n", true),
        ] {
            for step in [1, 7, stream.len()] {
                let mut parser = Parser::new(16);
                let refused = stream.chunks(step).any(|piece| parser.feed(piece, |_| ()).is_err());
                assert_eq!(refused, too_long, "{:?} by {step}", String::from_utf8_lossy(stream));
            }
        }
    }

    #[test]
    fn a_reconnection_time_that_is_no_number_changes_nothing() {
        let mut parser = Parser::new(1_000);
        parser.feed(b"retry: 1500\nretry: 99999999999999999999\nretry: +1\nretry:\n", |_| ()).unwrap();
        assert_eq!(parser.retry(), Some(1_500));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_cut_matters(bytes: Vec<u8>, at: prop::sample::Index) {
            let cut = at.index(bytes.len() + 1);
            let (head, tail) = bytes.split_at(cut);
            prop_assert_eq!(parse([head, tail]), parse([&bytes[..]]));
        }
    }
}
