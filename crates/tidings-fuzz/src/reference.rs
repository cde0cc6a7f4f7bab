//! A second reader of WebSocket frames, which knows no limit and no error: it walks over bytes that the decoder took.

/// What stands in bytes that are a lawful stream so far.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Messages and control frames that are whole.
    pub(crate) whole: Vec<Item>,
    /// Whether some payload came of a message or a control frame that is not whole.
    pub(crate) begun: bool,
}

/// A message or a control frame.
#[derive(Debug)]
pub(crate) struct Item {
    /// The opcode of the first frame.
    pub(crate) opcode: u8,
    pub(crate) compressed: bool,
    pub(crate) payload: Vec<u8>,
}

/// Reads all frames of `wire`, as far as they came.
pub(crate) fn walk(mut wire: &[u8]) -> Walk {
    let mut walk = Walk::default();
    let mut message: Option<Item> = None;
    while let Some((frame, after)) = frame(wire) {
        wire = after;
        if frame.opcode >= 8 {
            walk.begun = !frame.payload.is_empty() && !frame.whole;
            if frame.whole {
                walk.whole.push(Item { opcode: frame.opcode, compressed: false, payload: frame.payload });
            }
            continue;
        }
        let item = message.get_or_insert_with(|| Item {
            opcode: frame.opcode,
            compressed: frame.rsv1,
            payload: Vec::new(),
        });
        item.payload.extend(frame.payload);
        if frame.fin && frame.whole {
            walk.whole.extend(message.take());
        }
    }
    walk.begun |= message.is_some_and(|item| !item.payload.is_empty());
    walk
}

struct Frame {
    opcode: u8,
    fin: bool,
    rsv1: bool,
    /// Unmasked.
    payload: Vec<u8>,
    /// All of the payload came.
    whole: bool,
}

/// The first frame, and what follows it; `None` while its header is not all there.
fn frame(wire: &[u8]) -> Option<(Frame, &[u8])> {
    let (&[first, second], rest) = wire.split_first_chunk()?;
    let (len, rest) = match second & 0x7f {
        126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
        len => (u64::from(len), rest),
    };
    let (key, rest) = match second & 0x80 {
        0 => ([0; 4], rest),
        _ => rest.split_first_chunk().map(|(key, rest)| (*key, rest))?,
    };
    let there = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    let (payload, rest) = rest.split_at(there);
    let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let (opcode, fin, rsv1) = (first & 0x0f, first & 0x80 != 0, first & 0x40 != 0);
    Some((Frame { opcode, fin, rsv1, payload, whole: there as u64 == len }, rest))
}
