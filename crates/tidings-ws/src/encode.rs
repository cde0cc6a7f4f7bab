//! Messages and notices as WebSocket frames.

use crate::{
    deflate::Window,
    extension::Agreed,
    frame::{put_compressed, put_header, put_text},
};
use bytes::BytesMut;
use tidings_core::{Content, Encoder, EncodingId, Json, Notice, Standing, Transport};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A message as one text frame of JSON, which all receivers share.
#[derive(Debug, Clone, Copy)]
enum TextFrame {
    Plain,
    /// Compressed with nothing from before it, so it is right for every receiver whose window is as large,
    /// whatever it received before.
    Compressed(Window),
}

impl Encoder for TextFrame {
    fn id(&self) -> EncodingId {
        EncodingId::new(match self {
            Self::Plain => "ws-text",
            Self::Compressed(Window::Small) => "ws-deflate-9",
            Self::Compressed(Window::Medium) => "ws-deflate-12",
            Self::Compressed(Window::Large) => "ws-deflate",
        })
    }

    fn encode(&self, message: &Content, out: &mut BytesMut) {
        let mut json = BytesMut::new();
        Json.encode(message, &mut json);
        match self {
            Self::Plain => {
                put_header(OpCode::Data(Data::Text), true, json.len(), None, out);
                out.extend_from_slice(&json);
            }
            Self::Compressed(window) => put_compressed(Data::Text, &json, *window, None, out),
        }
    }
}

/// The transport of WebSockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ws {
    form: TextFrame,
}

impl Ws {
    /// For a client with which `deflate` was agreed, or nothing.
    pub(crate) fn new(deflate: Option<Agreed>) -> Self {
        let window = deflate.and_then(Agreed::window);
        Self { form: window.map_or(TextFrame::Plain, TextFrame::Compressed) }
    }
}

impl Transport for Ws {
    fn name(&self) -> &'static str {
        "ws"
    }

    fn encoder(&self) -> &dyn Encoder {
        &self.form
    }

    fn notice(&self, notice: &Notice, _: Standing<'_>, out: &mut BytesMut) {
        put_text(&notice.to_json(), None, out);
    }
}
