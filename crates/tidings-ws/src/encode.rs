//! Messages and notices as WebSocket frames.

use crate::frame::{put_header, put_text};
use bytes::BytesMut;
use tidings_core::{Content, Encoder, EncodingId, Json, Notice, Standing, Transport};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A message as one text frame of JSON.
#[derive(Debug, Clone, Copy)]
struct TextFrame;

impl Encoder for TextFrame {
    fn id(&self) -> EncodingId {
        EncodingId::new("ws-text")
    }

    fn encode(&self, message: &Content, out: &mut BytesMut) {
        let mut json = BytesMut::new();
        Json.encode(message, &mut json);
        put_header(OpCode::Data(Data::Text), true, json.len(), None, out);
        out.extend_from_slice(&json);
    }
}

/// The transport of WebSockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ws;

impl Transport for Ws {
    fn name(&self) -> &'static str {
        "ws"
    }

    fn encoder(&self) -> &dyn Encoder {
        &TextFrame
    }

    fn notice(&self, notice: &Notice, _: Standing<'_>, out: &mut BytesMut) {
        put_text(&notice.to_json(), None, out);
    }
}
