//! The load: connections that send frames made beforehand, and count what comes back.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidings_ws::{Data, deflate::Window, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
    time::Instant,
};

pub(crate) struct Load {
    /// As many frames as are under way at once.
    frames: Arc<[u8]>,
    text: Arc<str>,
    compressed: bool,
    connections: usize,
    window: usize,
}

impl Load {
    pub(crate) fn new(size: usize, compressed: bool, connections: usize, window: usize) -> Self {
        let text = text(size);
        let mut frames = BytesMut::new();
        for _ in 0..window {
            let mask = Some([0x12, 0x34, 0x56, 0x78]);
            if compressed {
                frame::put_compressed(Data::Text, text.as_bytes(), Window::Large, mask, &mut frames);
            } else {
                frame::put_text(&text, mask, &mut frames);
            }
        }
        Self { frames: frames.to_vec().into(), text: text.into(), compressed, connections, window }
    }

    /// Runs the load; `begin` is called when every connection is open and has had its first messages back.
    pub(crate) async fn run(
        &self,
        address: SocketAddr,
        time: Duration,
        begin: impl FnOnce(),
    ) -> Result<(u64, Duration)> {
        let barrier = Arc::new(Barrier::new(self.connections + 1));
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let mut peer = Peer::connect(address, self).await?;
            let barrier = Arc::clone(&barrier);
            tasks.spawn(async move {
                for _ in 0..WARM_UP {
                    peer.round().await?;
                }
                barrier.wait().await;
                let end = Instant::now() + time;
                let mut messages = 0;
                while Instant::now() < end {
                    messages += peer.round().await?;
                }
                anyhow::Ok(messages)
            });
        }
        barrier.wait().await;
        begin();
        let start = Instant::now();
        let mut messages = 0;
        while let Some(done) = tasks.join_next().await {
            messages += done??;
        }
        Ok((messages, start.elapsed()))
    }
}

struct Peer {
    stream: TcpStream,
    read: BytesMut,
    frames: Arc<[u8]>,
    text: Arc<str>,
    window: usize,
    checked: bool,
    inflate: bool,
}

impl Peer {
    async fn connect(address: SocketAddr, load: &Load) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let offer = if load.compressed {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        } else {
            ""
        };
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head)?.to_lowercase();
        ensure!(head.starts_with("http/1.1 101"), "the server answers {head:?}");
        ensure!(head.contains("permessage-deflate") == load.compressed, "compression as asked for: {head:?}");
        let (frames, text, window) = (Arc::clone(&load.frames), Arc::clone(&load.text), load.window);
        let read = BytesMut::with_capacity(256 << 10);
        Ok(Self { stream, read, frames, text, window, checked: false, inflate: load.compressed })
    }

    /// Sends as many messages as are under way at once, and waits for all of them.
    async fn round(&mut self) -> Result<u64> {
        // Large ones would fill both directions if none were read meanwhile.
        let (mut reader, mut writer) = self.stream.split();
        let frames = &self.frames;
        let write = async { writer.write_all(frames).await.context("the server does not read") };
        let read = async {
            let mut whole = 0;
            while whole < self.window {
                whole +=
                    take(&mut self.read, self.window - whole, &self.text, &mut self.checked, self.inflate)?;
                if whole < self.window && reader.read_buf(&mut self.read).await? == 0 {
                    bail!("the server ends the connection");
                }
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        Ok(self.window as u64)
    }
}

/// Takes whole frames off the front, of which the first is looked at.
fn take(read: &mut BytesMut, most: usize, text: &str, checked: &mut bool, inflate: bool) -> Result<usize> {
    let mut whole = 0;
    while whole < most && read.len() >= 2 {
        let (header, len) = match read[1] {
            126 if read.len() >= 4 => (4, u64::from(u16::from_be_bytes([read[2], read[3]]))),
            127 if read.len() >= 10 => (10, u64::from_be_bytes(read[2..10].try_into()?)),
            126 | 127 => return Ok(whole),
            len => (2, u64::from(len)),
        };
        let end = header + len as usize;
        if read.len() < end {
            read.reserve(end - read.len());
            return Ok(whole);
        }
        if !std::mem::replace(checked, true) {
            let payload = &read[header..end];
            let back = if read[0] == 0xc1 { inflated(payload)? } else { payload.to_vec() };
            ensure!(read[0] == 0x81 || (inflate && read[0] == 0xc1), "a text frame, not {:x}", read[0]);
            ensure!(back == text.as_bytes(), "the echo is another text");
        }
        read.advance(end);
        whole += 1;
    }
    Ok(whole)
}

fn inflated(payload: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(1 << 20);
    let mut inflater = flate2::Decompress::new(false);
    for input in [payload, b"\x00\x00\xff\xff"] {
        inflater.decompress_vec(input, &mut out, flate2::FlushDecompress::Sync)?;
    }
    Ok(out)
}

/// Something like what applications send: JSON with words that come again, not in the same order.
fn text(size: usize) -> String {
    let words = ["position", "temperature", "user", "message", "price", "volume", "status", "updated"];
    let (mut text, mut state) = (String::from("{"), 1u32);
    while text.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!("\"{}\":{},", words[state as usize >> 29], state >> 12);
    }
    text.truncate(size);
    text
}

const WARM_UP: usize = 20;
