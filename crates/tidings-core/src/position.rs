//! Where an event stands in its room.

use std::{fmt, str::FromStr};

/// Where an event stands in its room.
///
/// As text: `p`, then epoch, offset and tag in base 36 with dots between, such as `p1k9x.3f2.a7`. The letter is
/// the version of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "the three parts are the definition of a position")]
pub struct Position {
    /// Which history the offset counts in; a new epoch means that the earlier history is gone. Never 0.
    pub epoch: u32,
    /// Rises from event to event; whether without holes is the broker's affair.
    pub offset: u64,
    /// From the event's identity; tells two histories apart that share an epoch and an offset, such as before
    /// and after a failover that lost its tail.
    pub tag: u16,
}

/// Why a text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is written p<epoch>.<offset>.<tag>, each in base 36")]
#[non_exhaustive]
pub struct PositionError;

impl Position {
    /// A position in no history. Whoever stands there is told of a gap.
    pub const UNKNOWN: Self = Self { epoch: 0, offset: 0, tag: 0 };

    /// The longest text of a position, in bytes.
    pub const MAX_TEXT: usize = 1 + 7 + 1 + 13 + 1 + 4;

    pub(crate) fn write(self, out: &mut impl bytes::BufMut) {
        out.put_u8(b'p');
        write_base36(u64::from(self.epoch), out);
        out.put_u8(b'.');
        write_base36(self.offset, out);
        out.put_u8(b'.');
        write_base36(u64::from(self.tag), out);
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::MAX_TEXT];
        let mut rest = &mut text[..];
        self.write(&mut rest);
        let left = rest.len();
        f.write_str(std::str::from_utf8(&text[..Self::MAX_TEXT - left]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.strip_prefix('p').ok_or(PositionError)?.split('.');
        let mut next = || parts.next().and_then(parse_base36).ok_or(PositionError);
        let (epoch, offset, tag) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(PositionError);
        }
        Ok(Self {
            epoch: epoch.try_into().map_err(|_| PositionError)?,
            offset,
            tag: tag.try_into().map_err(|_| PositionError)?,
        })
    }
}

impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn write_base36(mut n: u64, out: &mut impl bytes::BufMut) {
    let mut digits = [0; 13];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[(n % 36) as usize];
        n /= 36;
        if n == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// Strict: one text for each number, so that equal cursors are equal texts.
fn parse_base36(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || (bytes[0] == b'0' && bytes.len() > 1) {
        return None;
    }
    bytes.iter().try_fold(0_u64, |n, b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'z' => b - b'a' + 10,
            _ => return None,
        };
        n.checked_mul(36)?.checked_add(u64::from(digit))
    })
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_position_fits_its_bound() {
        let longest = Position { epoch: u32::MAX, offset: u64::MAX, tag: u16::MAX };
        assert_eq!(longest.to_string().len(), Position::MAX_TEXT);
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for bad in [
            "",
            "p",
            "0",
            "-1",
            "p1.2",
            "p1.2.3.4",
            "p1..3",
            "1.2.3",
            "p01.2.3",
            "pA.2.3",
            "p1.2.3 ",
            "p1.+2.3",
            "p1z141z4.0.0",
            "p1.3w5e11264sgsg.1",
            "p1.1.1ekg",
            "p1.2.\u{661}",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(PositionError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_position_are_one_to_one(epoch: u32, offset: u64, tag: u16) {
            let position = Position { epoch, offset, tag };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "p?[0-9a-z.]{0,40}|.{0,40}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}
