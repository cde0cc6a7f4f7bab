//! What the targets take from the front of their input: choices and sizes; the rest is what they hand to the parser.

use std::iter;

/// An input that is used up from its front. At its end it gives zeros.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Two bytes, the higher first.
    pub fn pair(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// At most `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// One of several.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// Where to cut what follows: a byte says how many sizes there are, at most 7, and each size is a byte.
    pub fn cuts(&mut self) -> Cuts<'a> {
        let count = usize::from(self.byte() % 8);
        Cuts(self.take(count))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The sizes of the pieces that bytes come in, over and over again; without any, each byte comes alone.
#[derive(Debug, Clone, Copy)]
pub struct Cuts<'a>(&'a [u8]);

impl Cuts<'_> {
    /// The pieces of `bytes`. A size of 0 is an empty piece.
    pub fn pieces<'b>(&self, mut bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        // Zeros alone would never come to the end.
        let sizes = if self.0.iter().all(|size| *size == 0) { &[1][..] } else { self.0 };
        let mut sizes = sizes.iter().cycle();
        iter::from_fn(move || {
            let size = usize::from(*sizes.next()?);
            let (piece, rest) = bytes.split_at_checked(size).unwrap_or((bytes, &[]));
            let done = bytes.is_empty();
            bytes = rest;
            (!done).then_some(piece)
        })
    }
}
