//! Against zlib's other half, which does not know our rules.

use super::*;
use proptest::prelude::*;

fn inflated(compressed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Vec::new();
    inflate(compressed, |piece| {
        out.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(out)
}

/// An inflater that keeps its window from message to message, as a client may whatever was agreed. Its output is
/// taken in small pieces, so that it needs that window.
fn keeping(bits: u8) -> impl FnMut(&[u8]) -> Vec<u8> {
    let mut foreign = Decompress::new_with_window_bits(false, bits);
    move |compressed| {
        let wire = [compressed, SYNC].concat();
        let (mut out, mut input) = (Vec::new(), &wire[..]);
        loop {
            let mut piece = [0; 100];
            let (taken, made) = (foreign.total_in(), foreign.total_out());
            foreign.decompress(input, &mut piece, FlushDecompress::Sync).unwrap();
            input = &input[(foreign.total_in() - taken) as usize..];
            let made = (foreign.total_out() - made) as usize;
            out.extend_from_slice(&piece[..made]);
            if input.is_empty() && made < piece.len() {
                return out;
            }
        }
    }
}

const WINDOWS: [Window; 3] = [Window::Small, Window::Medium, Window::Large];

/// JSON-like text with repetitions at every distance up to `len`.
fn words(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut seed = 7u32;
    while out.len() < len {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(format!("{{\"word{}\":\"value\"}},", (seed >> 16) % 500).as_bytes());
    }
    out.truncate(len);
    out
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

#[test]
fn a_window_is_never_larger_than_asked_for() {
    for bits in 9..=15 {
        assert!(Window::within(bits).unwrap().bits() <= bits);
    }
    assert_eq!(Window::within(8), None);
    for window in WINDOWS {
        assert_eq!(Window::within(window.bits()), Some(window));
    }
}

#[test]
fn the_examples_of_the_specification_inflate() {
    // RFC 7692 §7.2.3.1, §7.2.3.3 (stored), §7.2.3.4 (a block marked as the last), §7.2.3.5 (two blocks),
    // §7.2.3.6 (empty).
    for hello in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        assert_eq!(inflated(hello).unwrap(), b"Hello", "{hello:02x?}");
    }
    assert_eq!(inflated(&[0x00]).unwrap(), b"");
}

#[test]
fn four_bytes_left_in_and_no_bytes_at_all_are_understood() {
    assert_eq!(inflated(b"").unwrap(), b"");
    assert_eq!(
        inflated(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff]).unwrap(),
        b"Hello"
    );
}

#[test]
fn what_is_cut_short_or_corrupt_is_refused() {
    let whole = compress(&words(3_000), Window::Large);
    for cut in 1..whole.len() {
        let result = inflated(&whole[..cut]);
        assert_eq!(result, Err(ProtocolError::Compression), "{cut} of {}", whole.len());
    }
    for bytes in [
        &[0xff][..],
        &[0x06],
        &[0x02, 0xff, 0xff],
        &[0x00, 0x01],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        assert_eq!(inflated(bytes), Err(ProtocolError::Compression), "{bytes:02x?}");
    }
    // Refers back to a message that we do not have (§7.2.3.2).
    assert_eq!(inflated(&[0xf2, 0x00, 0x11, 0x00, 0x00]), Err(ProtocolError::Compression));
}

#[test]
fn nothing_refers_further_back_than_the_window() {
    // Not every inflater that is told a window keeps to it (the one of zlib-rs does not), so the length must tell.
    for window in WINDOWS {
        let size = 1 << window.bits();
        let twice = noise(size + 1).repeat(2);
        assert!(compress(&twice, window).len() > twice.len(), "the repetition is out of reach of {window:?}");
        let near = noise(size / 4).repeat(2);
        assert!(compress(&near, window).len() < near.len() * 2 / 3, "and this one is not");
    }
}

#[test]
fn nothing_of_one_message_reaches_the_next() {
    // The inflater of a thread serves many connections: what one sent must not be there for another to refer to.
    let secret = noise(100_000);
    // Fixed codes: a match of 3 bytes at the distances 1 and 5, before anything came.
    for back in [&[0x02, 0x02, 0x00][..], &[0xf2, 0x00, 0x11, 0x00, 0x00], &[0x02, 0x22, 0x00]] {
        for window in WINDOWS {
            assert_eq!(inflated(&compress(&secret, window)).unwrap(), secret);
            let mut out = Vec::new();
            let result = inflate(back, |piece| {
                out.extend_from_slice(piece);
                Ok(())
            });
            assert_eq!((result, &out[..]), (Err(ProtocolError::Compression), &b""[..]), "{back:02x?}");
            // Nor in the block after one that says it is the last.
            let after = [&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], back].concat();
            assert_eq!(inflated(&after), Err(ProtocolError::Compression), "{back:02x?}");
        }
    }
    for window in WINDOWS {
        let fresh = std::thread::spawn(move || compress(&words(3_000), window)).join().unwrap();
        let _ = compress(&words(3_000), window);
        assert_eq!(compress(&words(3_000), window), fresh, "compressed as if it were the first");
    }
}

#[test]
fn a_round_trip_in_every_window() {
    for window in WINDOWS {
        for len in [0, 1, 127, 128, 511, 512, 513, 4_096, 5_000, 16_383, 16_384, 16_385, 70_000, 200_000] {
            for payload in [words(len), noise(len), vec![0; len]] {
                let compressed = compress(&payload, window);
                assert!(compressed.len() <= compressed_limit(len), "{len} gave {}", compressed.len());
                assert!(!compressed.ends_with(SYNC));
                assert!(inflated(&compressed).unwrap() == payload, "{len} bytes in {window:?}");
                assert!(keeping(window.bits())(&compressed) == payload, "{len} bytes in {window:?}");
            }
        }
    }
}

#[test]
fn many_messages_are_right_for_an_inflater_that_keeps_its_window() {
    for window in WINDOWS {
        let mut keeping = keeping(window.bits());
        for number in 0..100 {
            let payload = words(150 + 97 * number);
            assert!(keeping(&compress(&payload, window)) == payload, "message {number} in {window:?}");
        }
    }
}

#[test]
fn inflating_stops_where_the_sink_says_so() {
    // 10 MiB of zeros.
    let bomb = compress(&vec![0; 10 << 20], Window::Large);
    assert!(bomb.len() < 128 << 10);
    let mut made = 0;
    let result = inflate(&bomb, |piece| {
        assert!(piece.len() <= PIECE);
        made += piece.len();
        if made > 1 << 20 { Err(ProtocolError::MessageTooLarge { limit: 1 << 20 }) } else { Ok(()) }
    });
    assert_eq!(result, Err(ProtocolError::MessageTooLarge { limit: 1 << 20 }));
    assert!(made <= (1 << 20) + PIECE);
    assert_eq!(inflated(&compress(b"next", Window::Large)).unwrap(), b"next", "the inflater is as new");
}

proptest! {
    #[test]
    fn any_bytes_inflate_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut made = 0;
        let _ = inflate(&bytes, |piece| {
            made += piece.len();
            if made > 1 << 20 { Err(ProtocolError::MessageTooLarge { limit: 1 << 20 }) } else { Ok(()) }
        });
        prop_assert!(made <= (1 << 20) + PIECE);
    }

    #[test]
    fn one_wrong_byte_breaks_nothing(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut compressed = compress(&words(2_000), Window::Medium);
        let at = at.index(compressed.len());
        compressed[at] = byte;
        let _ = inflated(&compressed);
        prop_assert_eq!(inflated(&compress(b"next", Window::Small)).unwrap(), b"next");
    }
}
