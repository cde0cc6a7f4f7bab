//! Final byte forms of messages.

use crate::Content;
use bytes::{BufMut, BytesMut};

/// The name of one final byte form, such as `json` or `ws-text`. Two encoders with one id make the same bytes.
#[derive(Debug, Clone, Copy, Eq)]
pub struct EncodingId(&'static str);

impl PartialEq for EncodingId {
    fn eq(&self, other: &Self) -> bool {
        // Asked for each delivery, and mostly of the very same name.
        std::ptr::eq(self.0, other.0) || self.0 == other.0
    }
}

impl EncodingId {
    /// An id by its name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// Makes one byte form of any message: pure and infallible, for what it needs was checked on the way in.
pub trait Encoder: Send + Sync + 'static {
    /// Which form this is; a message keeps the bytes made for it.
    fn id(&self) -> EncodingId;

    /// Appends the message's bytes in this form to `out`.
    fn encode(&self, message: &Content, out: &mut BytesMut);
}

/// The JSON object that stands for a message on the wire: the text of a WebSocket frame, an item of a long-poll
/// answer.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "it has nothing to configure and is named as a value")]
pub struct Json;

impl Json {
    /// Its id.
    pub const ID: EncodingId = EncodingId::new("json");
}

impl Encoder for Json {
    fn id(&self) -> EncodingId {
        Self::ID
    }

    fn encode(&self, message: &Content, out: &mut BytesMut) {
        out.put_slice(b"{\"type\":\"event\",\"room\":");
        put_json_str(message.room(), out);
        if let Some(id) = message.id() {
            out.put_slice(b",\"id\":\"");
            id.write(out);
            out.put_u8(b'"');
        }
        out.put_slice(b",\"event\":");
        put_json_str(message.event().name(), out);
        out.put_slice(b",\"data\":");
        out.put_slice(message.event().data());
        out.put_u8(b'}');
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn put_json_str(text: &str, out: &mut BytesMut) {
    // Writing to memory cannot fail, and a str is always a JSON string.
    let _ = serde_json::to_writer(out.writer(), text);
}
