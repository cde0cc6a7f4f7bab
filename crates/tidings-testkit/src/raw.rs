//! A WebSocket client of bare bytes: it sends what a test says, right or wrong, and answers nothing by itself.

use crate::within;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The client after its handshake. Dropping it closes its connection.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    head: String,
}

impl RawSocket {
    /// Does the handshake, with more headers as `name: value` lines.
    ///
    /// # Panics
    /// If the server does not agree.
    pub async fn connect(address: SocketAddr, target: &str, headers: &[&str]) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        Self::over(stream, target, headers).await
    }

    /// Does the handshake over a stream that is connected.
    ///
    /// # Panics
    /// If the server does not agree.
    pub async fn over(mut stream: TcpStream, target: &str, headers: &[&str]) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(handshake(target, headers).as_bytes()).await.expect("sent");
        let head = answer(&mut stream).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self { stream, head }
    }

    /// A header field of the server's answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The stream underneath.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next frame: its first byte and its payload.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let len = match self.stream.read_u8().await? {
            126 => self.stream.read_u16().await?.into(),
            127 => self.stream.read_u64().await?,
            len => u64::from(len),
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// The next frame, which is a text message.
    ///
    /// # Panics
    /// If it is another.
    pub async fn json(&mut self) -> serde_json::Value {
        let (first, payload) = within(LIMIT, "a frame", self.frame()).await.expect("a frame");
        assert_eq!(first, 0x81, "{payload:02x?}");
        serde_json::from_slice(&payload).expect("JSON")
    }

    /// The code of the close frame that comes, whatever comes before it.
    ///
    /// # Panics
    /// If none comes.
    pub async fn close_code(&mut self) -> u16 {
        within(LIMIT, "the close frame", async {
            loop {
                let (first, payload) = self.frame().await.expect("a close frame before the end");
                if first == 0x88 {
                    return u16::from_be_bytes([payload[0], payload[1]]);
                }
            }
        })
        .await
    }
}

/// A request for a WebSocket.
pub fn handshake(target: &str, headers: &[&str]) -> String {
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: tidings\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Reads the head of an HTTP answer and not a byte more.
///
/// # Errors
/// If the connection ends before it does.
pub async fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(LIMIT, "an answer", stream.read_u8()).await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// A header field in the head of an answer.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A masked frame; `first` is its first byte, that is, `0x80` for the last frame of a message, `0x40` for a compressed
/// one, and the opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x9a, 1, 0xff, 0x42];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message in masked frames of at most `step` bytes; `first` is as for a single frame.
pub fn fragments(first: u8, payload: &[u8], step: usize) -> Vec<u8> {
    let pieces: Vec<_> = payload.chunks(step).collect();
    let mut out = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = if at == 0 { first & 0x7f } else { 0 };
        let last = if at + 1 == pieces.len() { 0x80 } else { 0 };
        out.extend(masked(opcode | last, piece));
    }
    out
}

/// No test has reason to wait longer.
const LIMIT: Duration = Duration::from_secs(10);
