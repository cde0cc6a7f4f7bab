//! Extensions: what a client offers, and what is agreed to (RFC 6455 §9.1, RFC 7692 §5, §7.1).
//!
//! There is one, `permessage-deflate`. Whatever else is offered is not answered, and no offer makes a handshake
//! fail, however it is written. An answer is another matter: what was not offered fails it.

use crate::deflate::Window;
use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use std::borrow::Cow;

/// Compression as agreed: no side keeps its context from one message to the next, and we compress within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// The largest window that we may use; with none we send nothing compressed.
    window: Option<Window>,
    /// Whether the answer names the window, because the offer did.
    named: bool,
}

impl Agreed {
    /// The largest window to compress with. There is none if the peer asked for one that we cannot do: then what we
    /// send goes as it is, which is always allowed (RFC 7692 §6.1), and what comes may be compressed.
    pub fn window(self) -> Option<Window> {
        self.window
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    ///
    /// Both sides give up their context (§7.1.1), which needs no offer. `server_max_window_bits` answers an offer of
    /// it (§7.1.2.1). `client_max_window_bits` is not answered: that lets the client use any window (§7.1.2.2), and
    /// our inflaters have the largest.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self.window.filter(|_| self.named) {
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
    extensions(headers).find_map(|offer| {
        let asked = Parameters::parse(offer)?;
        let window = asked.server_window.map_or(Some(Window::Large), |bits| Window::within(bits?))?;
        Some(Agreed { window: Some(window), named: asked.server_window.is_some() })
    })
}

/// What a client offers, as the value of `Sec-WebSocket-Extensions`: neither side is to keep its context, and the
/// server may say how large our window may be.
pub const OFFER: HeaderValue = HeaderValue::from_static(
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
);

/// What a server's answer to [`OFFER`] agrees to; nothing, if it names no extension.
///
/// # Errors
///
/// The answer names what was not offered, or `permessage-deflate` twice, or with parameters that cannot answer the
/// offer, which fails the handshake (RFC 6455 §4.1, RFC 7692 §5.1, §7).
pub fn accepted(headers: &HeaderMap) -> Result<Option<Agreed>, NotOffered> {
    let mut chosen = extensions(headers).filter(|extension| !extension.is_empty());
    let Some(first) = chosen.next() else { return Ok(None) };
    let answer = Parameters::parse(first).filter(|_| chosen.next().is_none()).ok_or(NotOffered)?;
    // The server has to take the offer as it is, or to decline it (§7.1.1.1).
    if !answer.server_no_context || answer.server_window == Some(None) {
        return Err(NotOffered);
    }
    let window = match answer.client_window {
        None => Some(Window::Large),
        Some(bits) => Window::within(bits.ok_or(NotOffered)?),
    };
    Ok(Some(Agreed { window, named: false }))
}

/// A server's answer names an extension, or a parameter of one, that was not offered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server chose an extension that was not offered")]
#[non_exhaustive]
pub struct NotOffered;

/// The parameters of `permessage-deflate`, in an offer or an answer; of windows, the bits, if a value is there.
#[derive(Debug, Default)]
struct Parameters {
    server_window: Option<Option<u8>>,
    client_window: Option<Option<u8>>,
    server_no_context: bool,
}

impl Parameters {
    /// `None` for another extension, an unknown parameter, one twice, or a wrong value.
    fn parse(extension: &[u8]) -> Option<Self> {
        let mut members = Members { rest: Some(extension), separator: b';' };
        if members.next() != Some(b"permessage-deflate") {
            return None;
        }
        let (mut found, mut seen) = (Self::default(), [false; NAMES.len()]);
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
                (SERVER_WINDOW, None) => found.server_window = Some(None),
                (CLIENT_WINDOW, None) => found.client_window = Some(None),
                (SERVER_WINDOW, Some(value)) => found.server_window = Some(Some(bits(&value)?)),
                (CLIENT_WINDOW, Some(value)) => found.client_window = Some(Some(bits(&value)?)),
                (SERVER_NO_CONTEXT, None) => found.server_no_context = true,
                (_, None) => {}
                (_, Some(_)) => return None,
            }
        }
        Some(found)
    }
}

/// The extensions of all lines of the header, each with its parameters.
fn extensions(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .into_iter()
        .flat_map(|line| Members { rest: Some(line.as_bytes()), separator: b',' })
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
const SERVER_NO_CONTEXT: &[u8] = b"server_no_context_takeover";
const NAMES: [&[u8]; 4] = [SERVER_WINDOW, CLIENT_WINDOW, SERVER_NO_CONTEXT, b"client_no_context_takeover"];

#[cfg(test)]
mod tests;
