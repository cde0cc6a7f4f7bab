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
        assert_eq!(negotiate(&headers).map(Agreed::window), Some(window), "{offer}");
    }
}
