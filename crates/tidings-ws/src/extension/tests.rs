//! Offers as browsers, libraries and mistaken clients make them.

use super::*;

fn answer(lines: &[&str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    negotiate(&headers).map(|agreed| agreed.header().to_str().unwrap().to_owned())
}

/// The answer with the given window; 0 for none.
fn agreed(bits: u8) -> Option<String> {
    let base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    Some(if bits == 0 { base.to_owned() } else { format!("{base}; server_max_window_bits={bits}") })
}

#[test]
fn an_offer_is_agreed_to_or_not_answered() {
    let cases: &[(&[&str], Option<String>)] = &[
        // Nothing that we know.
        (&[], None),
        (&[""], None),
        (&[",;,"], None),
        (&["x-webkit-deflate-frame"], None),
        (&["permessage-bzip2; level=9, foo"], None),
        (&["permessage-deflate2"], None),
        (&["x; permessage-deflate"], None),
        (&["foo=\"a, permessage-deflate\""], None),
        // Browsers and the usual libraries.
        (&["permessage-deflate"], agreed(0)),
        (&["permessage-deflate; client_max_window_bits"], agreed(0)),
        (&["x-webkit-deflate-frame, permessage-deflate"], agreed(0)),
        (&["permessage-deflate;client_max_window_bits=15;server_max_window_bits=15"], agreed(15)),
        (&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], agreed(0)),
        // Several lines, several offers, odd but lawful writing.
        (&["foo", "permessage-deflate"], agreed(0)),
        (&["foo; a=\"x;y,\\\"z\" , permessage-deflate ; server_max_window_bits = 12"], agreed(12)),
        (&["permessage-deflate; server_max_window_bits=\"12\""], agreed(12)),
        (&["permessage-deflate; server_max_window_bits=\"1\\2\""], agreed(12)),
        (&["permessage-deflate; client_max_window_bits=\"8\""], agreed(0)),
        (&[", ,permessage-deflate,,"], agreed(0)),
        // Numbers: never a larger window than offered.
        (&["permessage-deflate; server_max_window_bits=9"], agreed(9)),
        (&["permessage-deflate; server_max_window_bits=10"], agreed(9)),
        (&["permessage-deflate; server_max_window_bits=11"], agreed(9)),
        (&["permessage-deflate; server_max_window_bits=12"], agreed(12)),
        (&["permessage-deflate; server_max_window_bits=14"], agreed(12)),
        (&["permessage-deflate; server_max_window_bits=15"], agreed(15)),
        (&["permessage-deflate; client_max_window_bits=8"], agreed(0)),
        (&["permessage-deflate; server_max_window_bits=8"], None),
        (&["permessage-deflate; server_max_window_bits=7"], None),
        (&["permessage-deflate; server_max_window_bits=16"], None),
        (&["permessage-deflate; server_max_window_bits=09"], None),
        (&["permessage-deflate; server_max_window_bits=-9"], None),
        (&["permessage-deflate; server_max_window_bits=+9"], None),
        (&["permessage-deflate; server_max_window_bits=999"], None),
        (&["permessage-deflate; server_max_window_bits=ten"], None),
        (&["permessage-deflate; server_max_window_bits="], None),
        (&["permessage-deflate; server_max_window_bits"], None),
        (&["permessage-deflate; server_max_window_bits=\"12"], None),
        (&["permessage-deflate; server_max_window_bits=\"12\"3"], None),
        (&["permessage-deflate; client_max_window_bits=7"], None),
        (&["permessage-deflate; client_max_window_bits=16"], None),
        (&["permessage-deflate; client_max_window_bits="], None),
        // Unknown, doubled, with a value where none may be.
        (&["permessage-deflate; bogus=1"], None),
        (&["permessage-deflate; bogus"], None),
        (&["permessage-deflate;"], None),
        (&["permessage-deflate; server_no_context_takeover=1"], None),
        (&["permessage-deflate; client_no_context_takeover=\"\""], None),
        (&["permessage-deflate; client_max_window_bits; client_max_window_bits"], None),
        (&["permessage-deflate; server_max_window_bits=9; server_max_window_bits=9"], None),
        (&["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], None),
        (&["permessage-deflate; server_max_window_b\u{ef}ts=9"], None),
        // The first that is right.
        (&["permessage-deflate; bogus=1, permessage-deflate"], agreed(0)),
        (
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=15"],
            agreed(15),
        ),
        (&["permessage-deflate; server_max_window_bits=\"", "permessage-deflate"], agreed(0)),
        (&["permessage-deflate; server_max_window_bits=9, permessage-deflate"], agreed(9)),
        // Autobahn's list (case 13.7).
        (
            &[
                "permessage-deflate; server_no_context_takeover; client_max_window_bits; server_max_window_bits=9, \
               permessage-deflate; server_no_context_takeover; client_max_window_bits, permessage-deflate; \
               client_max_window_bits",
            ],
            agreed(9),
        ),
    ];
    for (offered, expected) in cases {
        assert_eq!(answer(offered), *expected, "{offered:?}");
    }
}

#[test]
fn the_window_is_the_answered_one() {
    for (offer, window) in [
        ("permessage-deflate", Window::Large),
        ("permessage-deflate; server_max_window_bits=15", Window::Large),
        ("permessage-deflate; server_max_window_bits=13", Window::Medium),
        ("permessage-deflate; server_max_window_bits=9", Window::Small),
    ] {
        let headers = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap())]);
        assert_eq!(negotiate(&headers).and_then(Agreed::window), Some(window), "{offer}");
    }
}

#[test]
fn an_answer_is_taken_if_it_answers_the_offer() {
    let base = "permessage-deflate; server_no_context_takeover";
    let with = |more: &str| format!("{base}; {more}");
    let window = |window| Ok(Some(window));
    let cases = [
        (String::new(), Ok(None)),
        (base.to_owned(), window(Some(Window::Large))),
        (with("client_no_context_takeover"), window(Some(Window::Large))),
        (with("client_max_window_bits=15"), window(Some(Window::Large))),
        (with("client_max_window_bits=13"), window(Some(Window::Medium))),
        (with("client_max_window_bits=9"), window(Some(Window::Small))),
        // We cannot do it, so we send nothing compressed.
        (with("client_max_window_bits=8"), window(None)),
        // A server may say that it uses less (RFC 7692 §7.1.2.1).
        (with("server_max_window_bits=8"), window(Some(Window::Large))),
        ("permessage-deflate".to_owned(), Err(NotOffered)),
        ("permessage-deflate; client_no_context_takeover".to_owned(), Err(NotOffered)),
        (with("client_max_window_bits"), Err(NotOffered)),
        (with("server_max_window_bits"), Err(NotOffered)),
        (with("client_max_window_bits=16"), Err(NotOffered)),
        (with("bogus"), Err(NotOffered)),
        (with("server_no_context_takeover"), Err(NotOffered)),
        ("x-webkit-deflate-frame".to_owned(), Err(NotOffered)),
        (format!("{base}, {base}"), Err(NotOffered)),
        (format!("{base}, foo"), Err(NotOffered)),
    ];
    for (answer, expected) in cases {
        let headers = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, answer.parse().unwrap())]);
        assert_eq!(accepted(&headers).map(|agreed| agreed.map(Agreed::window)), expected, "{answer}");
    }
    assert_eq!(accepted(&HeaderMap::new()), Ok(None));
}

#[test]
fn our_own_server_agrees_to_our_own_offer() {
    let offer = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, OFFER)]);
    let answer = negotiate(&offer).unwrap().header();
    let agreed = accepted(&HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, answer)])).unwrap().unwrap();
    assert_eq!(agreed.window(), Some(Window::Large));
}
