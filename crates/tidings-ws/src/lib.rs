//! WebSocket for Tidings: a message layer without I/O (RFC 6455, compression RFC 7692), and the endpoint over hyper.
//!
//! The message layer reads no socket, asks for no time and holds no buffer while a connection is idle. A driver
//! reads into any buffer it likes, for example one that all connections of a thread share, and hands the
//! bytes to the [`Decoder`](decode::Decoder), which keeps only what is not finished; [`frame`] writes frames;
//! [`Closing`](close::Closing) says when a connection ends and how; [`handshake`] judges the request that
//! starts it, and [`extension`] what it offers. The same code serves both ends of a connection. [`WebSocket`] is
//! the endpoint `GET …/ws`, which drives them over hyper.
//!
//! An idle session of the endpoint holds less than 2 KiB on the heap beside its socket, and no more with compression
//! than without: what compresses and inflates is each thread's and not each connection's.
//!
//! For WebSockets without Tidings there is [`Socket`], a `Stream` and `Sink` of [`Message`]s over any stream of
//! bytes: [`upgrade`] gives one to a server, [`connect`] to a client.
//!
//! ```
//! use bytes::BytesMut;
//! use tidings_ws::{decode::{Decoder, Incoming, Limits, Role}, frame};
//!
//! // What a client sends is masked; a server takes nothing else.
//! let mut wire = BytesMut::new();
//! frame::put_text("hello", Some([1, 2, 3, 4]), &mut wire);
//!
//! let mut decoder = Decoder::new(Role::Server, Limits::new(1 << 20, 1 << 20));
//! let mut input = &mut wire[..];
//! while let Some(incoming) = decoder.decode(&mut input)? {
//!     assert_eq!(incoming, Incoming::Text("hello".into()));
//! }
//! # Ok::<(), tidings_ws::decode::ProtocolError>(())
//! ```

pub mod close;
mod connect;
pub mod decode;
pub mod deflate;
mod drive;
mod encode;
pub mod extension;
pub mod frame;
pub mod handshake;
mod mask;
mod message;
mod server;
mod socket;
mod stream;
mod token;
mod upgrade;
mod utf8;

pub use connect::{Connect, ConnectError, connect};
pub use handshake::HandshakeError;
pub use message::{Message, Text};
pub use server::WebSocket;
pub use socket::{Socket, SocketError};
pub use stream::Upgraded;
pub use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
pub use upgrade::{Upgrade, Upgrading, upgrade};
