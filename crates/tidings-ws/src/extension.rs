//! Extensions: what a client offers, and what we agree to (RFC 6455 §9.1, RFC 7692 §5, §7.1).
//!
//! There is one, `permessage-deflate`. Whatever else is offered is not answered, and no offer makes a handshake
//! fail, however it is written.

use crate::deflate::Window;
use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use std::borrow::Cow;

/// Compression as agreed: no side keeps its context from one message to the next, and we compress within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// The window that the client asked us to keep to, or less.
    window: Option<Window>,
}

impl Agreed {
    /// The largest window to compress with for this client.
    pub fn window(self) -> Window {
        self.window.unwrap_or(Window::Large)
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    ///
    /// Both sides give up their context (§7.1.1), which needs no offer. `server_max_window_bits` answers an offer of
    /// it (§7.1.2.1). `client_max_window_bits` is not answered: that lets the client use any window (§7.1.2.2), and
    /// our inflaters have the largest.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self.window {
            None => "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Some(Window::Small) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=9"
            }
            Some(Window::Medium) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=12"
            }
            Some(Window::Large) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=15"
            }
        })
    }
}

/// The first offer that we can agree to: their order is the client's preference (RFC 7692 §5).
///
/// An offer with an unknown parameter, one twice or a wrong value is declined (§7), and so is one for a window of
/// 8 bits: an answer must not exceed it, and zlib cannot do it.
pub fn negotiate(headers: &HeaderMap) -> Option<Agreed> {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .into_iter()
        .flat_map(|line| Members { rest: Some(line.as_bytes()), separator: b',' })
        .find_map(agree)
}

fn agree(offer: &[u8]) -> Option<Agreed> {
    let mut members = Members { rest: Some(offer), separator: b';' };
    if members.next() != Some(b"permessage-deflate") {
        return None;
    }
    let (mut window, mut seen) = (None, [false; NAMES.len()]);
    for parameter in members {
        let (name, value) = match parameter.iter().position(|byte| *byte == b'=') {
            Some(at) => (parameter[..at].trim_ascii_end(), Some(value(&parameter[at + 1..])?)),
            None => (parameter, None),
        };
        let index = NAMES.iter().position(|known| *known == name)?;
        if std::mem::replace(&mut seen[index], true) {
            return None;
        }
        match (name, value) {
            (SERVER_WINDOW, Some(value)) => window = Some(Window::within(bits(&value)?)?),
            (CLIENT_WINDOW, Some(value)) => _ = bits(&value)?,
            (SERVER_WINDOW, None) => return None,
            (CLIENT_WINDOW, None) | (_, None) => {}
            (_, Some(_)) => return None,
        }
    }
    Some(Agreed { window })
}

/// A token or a quoted string, without its quotes; what is neither gives `None`.
fn value(written: &[u8]) -> Option<Cow<'_, [u8]>> {
    let written = written.trim_ascii_start();
    let Some(quoted) = written.strip_prefix(b"\"") else {
        return Some(Cow::Borrowed(written));
    };
    let (mut value, mut bytes) = (Vec::new(), quoted.iter());
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(Cow::Owned(value)),
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(*byte),
        }
    }
}

/// "A decimal integer value without leading zeroes between 8 to 15 inclusive" (RFC 7692 §7.1.2).
fn bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The members of a list, trimmed; what stands in quotes does not separate them.
struct Members<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => return *byte == self.separator && !quoted,
            }
            false
        });
        self.rest = end.map(|end| &rest[end + 1..]);
        Some(rest[..end.unwrap_or(rest.len())].trim_ascii())
    }
}

const SERVER_WINDOW: &[u8] = b"server_max_window_bits";
const CLIENT_WINDOW: &[u8] = b"client_max_window_bits";
const NAMES: [&[u8]; 4] =
    [SERVER_WINDOW, CLIENT_WINDOW, b"server_no_context_takeover", b"client_no_context_takeover"];

#[cfg(test)]
mod tests;
