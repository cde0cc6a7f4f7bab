//! Masking of payloads (RFC 6455 §5.3), in place.

/// A masking key as it stands in a frame header.
pub(crate) type Key = [u8; 4];

/// Masks or unmasks `data`, which starts where the first byte of `key` applies, and returns the key for the
/// bytes that follow. A payload in pieces is thus unmasked piece by piece, whatever the split.
#[must_use = "the next piece of the payload needs the turned key"]
pub(crate) fn apply(data: &mut [u8], key: Key) -> Key {
    // A block of fixed size, a multiple of the key's, is what the compiler turns into vector instructions.
    let mut wide = [0; BLOCK];
    for (byte, key) in wide.iter_mut().zip(key.iter().cycle()) {
        *byte = *key;
    }
    let mut turned = key;
    turned.rotate_left(data.len() % key.len());
    let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
    turned
}

const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as RFC 6455 §5.3 writes it.
    fn naive(data: &[u8], key: Key) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn masking_equals_the_rule_at_every_offset_and_length() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let data: Vec<u8> = (0..=255).collect();
        for offset in 0..40 {
            for len in 0..=200 {
                let mut buffer = data.clone();
                let turned = apply(&mut buffer[offset..offset + len], key);
                assert_eq!(buffer[offset..offset + len], naive(&data[offset..offset + len], key));
                assert_eq!(buffer[..offset], data[..offset], "bytes before stay as they are");
                assert_eq!(buffer[offset + len..], data[offset + len..], "bytes after stay as they are");
                assert_eq!(turned[0], key[len % 4]);
            }
        }
    }

    proptest! {
        #[test]
        fn masking_in_pieces_equals_masking_at_once(
            data in prop::collection::vec(any::<u8>(), 0..300),
            key in any::<Key>(),
            cuts in prop::collection::vec(0usize..60, 0..20),
        ) {
            let mut pieces = data.clone();
            let (mut rest, mut turned) = (&mut pieces[..], key);
            for cut in cuts {
                let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
                turned = apply(piece, turned);
                rest = after;
            }
            let _ = apply(rest, turned);
            prop_assert_eq!(pieces, naive(&data, key));
        }
    }
}
