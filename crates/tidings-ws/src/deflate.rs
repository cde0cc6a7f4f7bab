//! Compressed messages (RFC 7692 §7.2), each with a context of its own.
//!
//! zlib's state is 380 KiB to compress and 47 KiB to inflate, so no connection has any: a thread has one inflater
//! and one deflater for each [`Window`], made at their first use and reset before each message. That is why
//! [`Agreed`](crate::extension::Agreed) always says that neither side keeps its context.

use crate::decode::ProtocolError;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// How far back a compressed message may refer, at most (RFC 7692 §7.1.2).
///
/// Only three of the possible sizes are used, because each costs a deflater a thread and a form of each message:
/// a client that asks for another gets the next smaller one, which the RFC lets us answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// 9 bits: 512 bytes.
    Small,
    /// 12 bits: 4 KiB.
    Medium,
    /// 15 bits: 32 KiB, which every inflater can do.
    Large,
}

impl Window {
    /// The largest window of at most `bits` bits. There is none below 9: zlib cannot compress with 8.
    pub const fn within(bits: u8) -> Option<Self> {
        match bits {
            ..9 => None,
            9..12 => Some(Self::Small),
            12..15 => Some(Self::Medium),
            15.. => Some(Self::Large),
        }
    }

    /// The base-2 logarithm of its size in bytes.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Small => 9,
            Self::Medium => 12,
            Self::Large => 15,
        }
    }
}

/// The payload of a compressed message, as RFC 7692 §7.2.1 makes it: with nothing from before it, and without the
/// four bytes at its end.
pub(crate) fn compress(payload: &[u8], window: Window) -> Vec<u8> {
    DEFLATERS.with_borrow_mut(|deflaters| {
        // Level 1: level 6 takes three times as long for an eighth less, and who first needs the form waits.
        let deflater = deflaters[window as usize]
            .get_or_insert_with(|| Compress::new_with_window_bits(Compression::fast(), false, window.bits()));
        deflater.reset();
        // What random bytes grow to in fixed Huffman codes, and room for the flush.
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + FLUSH);
        loop {
            let taken = deflater.total_in() as usize;
            deflater
                .compress_vec(&payload[taken..], &mut out, FlushCompress::Sync)
                .expect("a deflater refuses nothing but a wrong call");
            // All is out when some place is left (zlib's manual on `Z_SYNC_FLUSH`).
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(FLUSH + payload.len() / 8);
        }
        debug_assert!(out.ends_with(SYNC));
        out.truncate(out.len() - SYNC.len());
        out
    })
}

/// Inflates the payload of a compressed message and gives it to `sink` in pieces of at most [`PIECE`] bytes, until
/// `sink` refuses one.
///
/// A block that says it is the last one may be followed by more (§7.2.1), which then begins with an empty window.
pub(crate) fn inflate(
    compressed: &[u8],
    mut sink: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    // Lawful payloads end in a byte whose top bit is 0. Who flushes each fragment and ends with an empty one
    // leaves the four bytes in, and some send an empty message as no bytes at all; zlib would not mind.
    let stripped = !compressed.is_empty() && !compressed.ends_with(SYNC);
    let sync = if stripped { SYNC } else { &[] };
    INFLATER.with_borrow_mut(|Inflater { state, piece }| {
        state.reset(false);
        let mut ended = false;
        for mut input in [compressed, sync, LAST] {
            loop {
                let (taken, made) = (state.total_in(), state.total_out());
                let status = state
                    .decompress(input, piece, FlushDecompress::Sync)
                    .map_err(|_| ProtocolError::Compression)?;
                let made = (state.total_out() - made) as usize;
                input = &input[(state.total_in() - taken) as usize..];
                sink(&piece[..made])?;
                ended = status == Status::StreamEnd;
                if ended {
                    state.reset(false);
                }
                // A full piece may have more behind it.
                if input.is_empty() && (ended || made < piece.len()) {
                    break;
                }
                if status == Status::BufError && made == 0 {
                    return Err(ProtocolError::Compression);
                }
            }
        }
        // A payload cut short takes the bytes of the end for its own.
        if ended { Ok(()) } else { Err(ProtocolError::Compression) }
    })
}

/// How large the payload of a compressed message may be, of which at most `limit` bytes may come out. What does not
/// compress grows by an eighth at the worst.
pub(crate) const fn compressed_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(FLUSH)
}

#[derive(Debug)]
struct Inflater {
    state: Decompress,
    piece: Box<[u8]>,
}

thread_local! {
    static DEFLATERS: RefCell<[Option<Compress>; 3]> = const { RefCell::new([None, None, None]) };
    static INFLATER: RefCell<Inflater> =
        RefCell::new(Inflater { state: Decompress::new(false), piece: vec![0; PIECE].into() });
}

/// Bytes inflated at a time, and so how far beyond a limit anything is inflated.
const PIECE: usize = 16 << 10;
/// The end of a flush: an empty stored block without its first byte.
const SYNC: &[u8] = &[0x00, 0x00, 0xff, 0xff];
/// An empty block that is the last one, to see that the payload ended where it should.
const LAST: &[u8] = &[0x03, 0x00];
/// Enough place for a flush.
const FLUSH: usize = 64;

#[cfg(test)]
mod tests;
