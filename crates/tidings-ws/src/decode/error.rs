//! What a peer can do wrong, and the close code that tells it so.

use thiserror::Error;
use tungstenite::protocol::frame::coding::CloseCode;

/// The peer broke the protocol or a limit; the connection must fail (RFC 6455 §7.1.7).
///
/// The `Display` form is short enough for the reason of a close frame and reveals nothing but the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set which no agreed extension uses (§5.2).
    #[error("reserved bit set")]
    ReservedBits,
    /// The opcode is reserved (§5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A client's frame is not masked (§5.1).
    #[error("frame not masked")]
    Unmasked,
    /// A server's frame is masked (§5.1).
    #[error("frame masked")]
    Masked,
    /// A control frame is fragmented (§5.5).
    #[error("control frame fragmented")]
    FragmentedControl,
    /// A control frame is longer than 125 bytes (§5.5).
    #[error("control frame too long")]
    LongControl,
    /// A continuation without a message to continue (§5.4).
    #[error("continuation of nothing")]
    UnexpectedContinuation,
    /// A new message inside a fragmented one (§5.4).
    #[error("message inside a message")]
    InterruptedMessage,
    /// A length is not written in the fewest bytes, or has its top bit set (§5.2).
    #[error("invalid length encoding")]
    LengthEncoding,
    /// A data frame is longer than the limit, in bytes.
    #[error("frame larger than {limit} bytes")]
    FrameTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message is longer than the limit, in bytes.
    #[error("message larger than {limit} bytes")]
    MessageTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A text message or a close reason is not UTF-8 (§8.1).
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A compressed message does not inflate (RFC 7692 §7.2.2).
    #[error("invalid compressed data")]
    Compression,
    /// A close frame has a body of one byte, where its code takes two (§5.5.1).
    #[error("close frame with half a code")]
    CloseBody,
    /// A close frame has a code which must not stand there (§7.4).
    #[error("invalid close code {0}")]
    CloseCode(u16),
}

impl ProtocolError {
    /// The code to close with (RFC 6455 §7.4.1): 1009 for a limit, 1007 for a payload that is not what it says (RFC 7692
    /// names no code for one that does not inflate), else 1002.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::FrameTooLarge { .. } | Self::MessageTooLarge { .. } => CloseCode::Size,
            Self::InvalidUtf8 | Self::Compression => CloseCode::Invalid,
            _ => CloseCode::Protocol,
        }
    }
}
