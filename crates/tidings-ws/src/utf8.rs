//! UTF-8 in pieces: text is checked as it arrives, and a code point may be cut anywhere.

use std::str;

/// The text so far cannot become UTF-8, whatever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

/// The begun, unfinished code point at the end of the text seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail {
    bytes: [u8; 4],
    len: u8,
}

impl Tail {
    /// How many bytes wait for the rest of their code point: at most 3.
    pub(crate) fn len(self) -> usize {
        self.len.into()
    }

    /// Whether the text may end here.
    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Appends the code points which `input` completes to `text` and keeps the begun one.
    ///
    /// Fails at the first byte after which no continuation is valid, which may be in the middle of a code
    /// point (a surrogate, an overlong form, or a value past U+10FFFF).
    pub(crate) fn push(&mut self, mut input: &[u8], text: &mut String) -> Result<(), InvalidUtf8> {
        while !self.is_empty() {
            let Some((&byte, rest)) = input.split_first() else { return Ok(()) };
            input = rest;
            self.bytes[self.len()] = byte;
            self.len += 1;
            match str::from_utf8(&self.bytes[..self.len()]) {
                Ok(code_point) => {
                    text.push_str(code_point);
                    self.len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        // Pieces that end between code points, which is most of them, take one pass.
        let error = match simdutf8::compat::from_utf8(input) {
            Ok(valid) => {
                text.push_str(valid);
                return Ok(());
            }
            Err(error) => error,
        };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let (valid, begun) = input.split_at(error.valid_up_to());
        text.push_str(simdutf8::basic::from_utf8(valid).map_err(|_| InvalidUtf8)?);
        self.bytes[..begun.len()].copy_from_slice(begun);
        self.len = begun.len() as u8;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` one by one and returns how many were taken before the refusal, and whether the end is
    /// clean.
    fn byte_by_byte(bytes: &[u8]) -> (usize, bool, String) {
        let (mut tail, mut text) = (Tail::default(), String::new());
        for (taken, byte) in bytes.iter().enumerate() {
            if tail.push(&[*byte], &mut text).is_err() {
                return (taken, false, text);
            }
        }
        (bytes.len(), tail.is_empty(), text)
    }

    #[test]
    fn impossible_sequences_are_refused_at_their_first_impossible_byte() {
        // (bytes, how many of them are still possible)
        let cases: &[(&[u8], usize)] = &[
            (&[0x80], 0),                   // a continuation byte alone
            (&[0xc0, 0xaf], 0),             // overlong in two bytes
            (&[0xe0, 0x9f, 0xbf], 1),       // overlong in three bytes
            (&[0xf0, 0x8f, 0xbf, 0xbf], 1), // overlong in four bytes
            (&[0xed, 0xa0, 0x80], 1),       // a surrogate
            (&[0xf4, 0x90, 0x80, 0x80], 1), // past U+10FFFF
            (&[0xf5], 0),
            (&[0xff], 0),
            (&[b'a', 0xe2, 0x82, b'b'], 3), // a code point not finished
        ];
        for (bytes, possible) in cases {
            let (taken, _, _) = byte_by_byte(bytes);
            assert_eq!(taken, *possible, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_code_point_cut_anywhere_is_joined() {
        for text in ["é", "€", "😀", "aé€😀z"] {
            for cut in 0..=text.len() {
                let (mut tail, mut out) = (Tail::default(), String::new());
                let (head, rest) = text.as_bytes().split_at(cut);
                tail.push(head, &mut out).unwrap();
                assert_eq!(tail.is_empty(), text.is_char_boundary(cut));
                tail.push(rest, &mut out).unwrap();
                assert_eq!(out, text);
            }
        }
    }

    /// Bytes that are often nearly UTF-8, so that the interesting branches are taken.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            (any::<String>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut bytes = text.into_bytes();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            }),
            any::<String>().prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn any_split_agrees_with_the_standard_library(
            bytes in nearly_text(),
            cuts in prop::collection::vec(0usize..8, 0..12),
        ) {
            let (mut tail, mut text) = (Tail::default(), String::new());
            let (mut rest, mut taken, mut failed) = (&bytes[..], 0, None);
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                taken += piece.len();
                if tail.push(piece, &mut text).is_err() {
                    failed = Some(taken);
                    break;
                }
                // What is accepted so far is accepted by the standard library too, but for an unfinished end.
                let so_far = str::from_utf8(&bytes[..taken]).map_or_else(|e| e.error_len(), |_| None);
                prop_assert_eq!(so_far, None, "failed later than the standard library would");
            }
            match str::from_utf8(&bytes) {
                Ok(valid) => prop_assert!(failed.is_none() && tail.is_empty() && text == valid),
                Err(error) if error.error_len().is_some() => prop_assert!(failed.is_some()),
                Err(error) => {
                    prop_assert!(failed.is_none());
                    prop_assert_eq!(tail.len(), bytes.len() - error.valid_up_to());
                }
            }
        }
    }
}
