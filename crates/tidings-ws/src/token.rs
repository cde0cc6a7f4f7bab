//! The token that a page shows when it opens a WebSocket.
//!
//! A page cannot set header fields there, and what is in the address is logged on the way. So the token comes as the name of a
//! subprotocol, of which it has no other use: the answer never names it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use tidings_http::Refusal;

/// Puts a token from where the subprotocols are to where all other tokens are. One that is there already stays: no page has put it
/// there, and who has, knows more than the page.
///
/// # Errors
/// 401 if it is no token.
pub(crate) fn unpack(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut token = None;
    let mut others: Vec<&[u8]> = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match name.strip_prefix(PREFIX) {
                Some(packed) if token.is_none() => token = Some(packed),
                Some(_) => {
                    return Err(Refusal::of(
                        "unauthorized",
                        "there are several tokens among the subprotocols",
                    ));
                }
                None => others.push(name),
            }
        }
    }
    let Some(packed) = token else { return Ok(()) };
    let bearer = bearer(packed)
        .ok_or_else(|| Refusal::of("unauthorized", "the token among the subprotocols is not in base64url"))?;
    // What was a part of header values is one.
    let others = HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|others| !others.is_empty());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(others) = others {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    }
    headers.entry(AUTHORIZATION).or_insert(bearer);
    Ok(())
}

fn bearer(packed: &[u8]) -> Option<HeaderValue> {
    let token = BASE64_URL_SAFE_NO_PAD.decode(packed).ok()?;
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat()).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

const PREFIX: &[u8] = b"tidings.token.";

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(lines: &[&str]) -> Result<HeaderMap, http::StatusCode> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, line.parse().unwrap());
        }
        unpack(&mut headers).map(|()| headers).map_err(|refusal| refusal.status())
    }

    #[test]
    fn a_token_goes_from_the_subprotocols_to_where_tokens_are() {
        // "a.b-c" and "a~/="
        for (lines, token) in [
            (&["tidings.v1, tidings.token.YS5iLWM"][..], "Bearer a.b-c"),
            (&["tidings.token.YX4vPQ,tidings.v1"], "Bearer a~/="),
            (&["tidings.v1", "tidings.token.YS5iLWM"], "Bearer a.b-c"),
        ] {
            let headers = unpacked(lines).unwrap();
            assert_eq!(headers[AUTHORIZATION], token);
            assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "tidings.v1");
            assert!(!format!("{headers:?}").contains("a.b-c"));
        }
    }

    #[test]
    fn without_one_nothing_changes() {
        assert!(unpacked(&[]).unwrap().is_empty());
        let headers = unpacked(&["tidings.v1, tidings.tokens"]).unwrap();
        assert_eq!(
            (headers.len(), &headers[SEC_WEBSOCKET_PROTOCOL]),
            (1, &"tidings.v1, tidings.tokens".parse().unwrap())
        );
    }

    #[test]
    fn what_was_shown_in_its_place_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer first"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("tidings.token.YS5iLWM"));
        unpack(&mut headers).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer first");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for bad in [
            "tidings.token.",
            "tidings.token.YS5iLWM=",
            "tidings.token.a",
            "tidings.token.YSBi",
            "tidings.token.Cg",
            "tidings.token._w",
            "tidings.token.YS5iLWM, tidings.token.YS5iLWM",
        ] {
            assert_eq!(unpacked(&[bad]).unwrap_err(), http::StatusCode::UNAUTHORIZED, "{bad}");
        }
    }
}
