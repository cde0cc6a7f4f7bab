//! `Sec-WebSocket-Extensions`, an offer or an answer.
//!
//! Input: a byte of choices. If it is odd, fields follow as they stand in a head, one a line. Else the list of
//! extensions is made from what follows, so that what must come of it is known: see [`Extension::make`].

use crate::input::Input;
use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use tidings_ws::extension::{Agreed, accepted, negotiate};

/// Reads a list as an offer and as an answer.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 1 {
        raw(input.rest());
    } else {
        made(&mut input);
    }
}

/// Any bytes: what is agreed on is at least named.
fn raw(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in lines.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    let names = |what: &[u8]| {
        let mut values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
        values.any(|value| value.as_bytes().windows(what.len()).any(|window| window == what))
    };
    if let Some(agreed) = negotiate(&headers) {
        assert!(names(b"permessage-deflate"));
        let answer = Answer::read(agreed);
        assert!(answer.server_window.is_none() || names(b"server_max_window_bits"));
    }
    if let Ok(Some(_)) = accepted(&headers) {
        assert!(names(b"permessage-deflate") && names(b"server_no_context_takeover"));
    }
}

/// Lists whose meaning is known.
fn made(input: &mut Input<'_>) {
    let (mut headers, mut list) = (HeaderMap::new(), Vec::new());
    let mut line = String::new();
    while !input.is_empty() && list.len() < 8 {
        let extension = Extension::make(input);
        extension.write(input, &mut line);
        list.push(extension);
        if input.byte().is_multiple_of(4) {
            append(&mut headers, &mut line);
        } else {
            line += ", ";
        }
    }
    append(&mut headers, &mut line);
    offered(&headers, &list);
    answered(&headers, &list);
}

fn append(headers: &mut HeaderMap, line: &mut String) {
    if let Ok(value) = HeaderValue::from_str(&std::mem::take(line)) {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
    }
}

/// RFC 7692 §7.1: the first offer that can be taken is, and the answer keeps to it.
fn offered(headers: &HeaderMap, list: &[Extension]) {
    // An answer to 8 bits would exceed them, since we have no such window.
    let offer = list.iter().find(|offer| {
        offer.is_lawful() && offer.bits(SERVER_WINDOW).is_none_or(|bits| bits.is_some_and(|bits| bits > 8))
    });
    let agreed = negotiate(headers);
    assert_eq!(agreed.is_some(), offer.is_some(), "{list:?}");
    let (Some(agreed), Some(offer)) = (agreed, offer) else { return };
    let answer = Answer::read(agreed);
    let asked = offer.bits(SERVER_WINDOW).flatten();
    assert_eq!(answer.server_window.is_some(), asked.is_some(), "a window is answered if it was asked for");
    let used = agreed.window().expect("an offer is taken with a window").bits();
    assert!(used <= asked.unwrap_or(15) && answer.server_window.is_none_or(|named| used <= named));
    assert!(answer.server_window.is_none_or(|named| asked.is_some_and(|asked| named <= asked)));
    assert!(!answer.client_window || offer.has(CLIENT_WINDOW), "only a client that knows it may be told");
}

/// RFC 7692 §7.1 for an answer to our offer: no context of the server's, any window.
fn answered(headers: &HeaderMap, list: &[Extension]) {
    let lawful = match list {
        [] => return assert_eq!(accepted(headers), Ok(None)),
        [one] => {
            one.is_lawful()
                && one.has(SERVER_NO_CONTEXT)
                && one.bits(SERVER_WINDOW) != Some(None)
                && one.bits(CLIENT_WINDOW) != Some(None)
        }
        _ => false,
    };
    let agreed = accepted(headers);
    assert_eq!(agreed.is_ok(), lawful, "{list:?}");
    if let Ok(agreed) = agreed {
        let window = agreed.expect("an extension was named").window().map(|window| window.bits());
        let most = list[0].bits(CLIENT_WINDOW).flatten().unwrap_or(15);
        assert!(window.is_none_or(|bits| bits <= most));
        assert_eq!(window.is_none(), most == 8, "8 bits are what we cannot do");
    }
}

/// What our answer says.
#[derive(Debug, Default)]
struct Answer {
    server_window: Option<u8>,
    client_window: bool,
}

impl Answer {
    fn read(agreed: Agreed) -> Self {
        let header = agreed.header();
        let mut members = header.to_str().expect("ASCII").split("; ");
        assert_eq!(members.next(), Some("permessage-deflate"));
        let (mut answer, mut seen) = (Self::default(), Vec::new());
        for member in members {
            let (name, value) =
                member.split_once('=').map_or((member, None), |(name, bits)| (name, Some(bits)));
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
            let bits = value.map(|bits| bits.parse().expect("a number"));
            assert!(bits.is_none_or(|bits| (8..=15).contains(&bits)));
            match name {
                SERVER_WINDOW => answer.server_window = Some(bits.expect("an answer has a value")),
                CLIENT_WINDOW => answer.client_window = bits.is_some(),
                SERVER_NO_CONTEXT | CLIENT_NO_CONTEXT => assert_eq!(bits, None),
                other => panic!("{other} is unknown"),
            }
        }
        assert!(seen.contains(&SERVER_NO_CONTEXT), "we keep no context");
        assert!(seen.contains(&CLIENT_NO_CONTEXT), "nor do we for the client");
        answer
    }
}

#[derive(Debug)]
struct Extension {
    name: &'static str,
    parameters: Vec<(&'static str, Option<String>)>,
}

impl Extension {
    /// A byte for the name, a byte for the number of parameters, and for each a byte for its name and a byte for its
    /// value: none, or a number, which is right or wrong.
    fn make(input: &mut Input<'_>) -> Self {
        let deflate = "permessage-deflate";
        let name = input.choose(&[deflate, deflate, deflate, "permessage-bzip2", "x-webkit-deflate-frame"]);
        let parameters = (0..input.byte() % 5).map(|_| {
            let name = input.choose(&[
                SERVER_NO_CONTEXT,
                CLIENT_NO_CONTEXT,
                SERVER_WINDOW,
                CLIENT_WINDOW,
                SERVER_WINDOW,
                CLIENT_WINDOW,
                "server_max_window_bit",
                "",
            ]);
            let value = match input.byte() % 20 {
                0..4 => None,
                number @ 4..18 => Some(number.to_string()),
                18 => Some("012".to_owned()),
                _ => Some("12x".to_owned()),
            };
            (name, value)
        });
        Self { name, parameters: parameters.collect() }
    }

    /// With spaces and quotes where they may stand.
    fn write(&self, input: &mut Input<'_>, out: &mut String) {
        *out += self.name;
        for (name, value) in &self.parameters {
            *out += input.choose(&[";", "; ", " ;", "\t; \t"]);
            *out += name;
            let Some(value) = value else { continue };
            *out += "=";
            match input.byte() % 3 {
                0 => *out += value,
                1 => *out += &format!("\"{value}\""),
                _ => {
                    let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
                    *out += &format!("\"{escaped}\"");
                }
            }
        }
    }

    /// `permessage-deflate` with known parameters, each once and with a value that it may have.
    fn is_lawful(&self) -> bool {
        let parameter = |(index, (name, value)): (usize, &(&str, Option<String>))| {
            let once = self.parameters[..index].iter().all(|(before, _)| before != name);
            once && match (*name, value) {
                (SERVER_NO_CONTEXT | CLIENT_NO_CONTEXT, None) => true,
                (SERVER_WINDOW | CLIENT_WINDOW, None) => true,
                (SERVER_WINDOW | CLIENT_WINDOW, Some(value)) => {
                    value.parse().is_ok_and(|bits: u8| (8..=15).contains(&bits)) && !value.starts_with('0')
                }
                _ => false,
            }
        };
        self.name == "permessage-deflate" && self.parameters.iter().enumerate().all(parameter)
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(known, _)| *known == name)
    }

    /// The value of a window, if it is there, and if it has one.
    fn bits(&self, name: &str) -> Option<Option<u8>> {
        let (_, value) = self.parameters.iter().find(|(known, _)| *known == name)?;
        Some(value.as_ref().and_then(|value| value.parse().ok()))
    }
}

const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";
const SERVER_NO_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT: &str = "client_no_context_takeover";
