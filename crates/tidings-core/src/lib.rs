//! The words of Tidings, and what happens between them.
//!
//! An [`Event`] is published into a room; the [`Broker`] gives it a [`Position`] and the node's [`Hub`] takes it
//! into the room's [`Ring`](ring::Ring) as a [`Message`]. A [`Session`] is the server's half of one live
//! attachment: a set of cursors into such rings, never a queue of frames. A [`Transport`] says in which byte
//! form a session's messages reach its client; the form is made once and shared by every receiver.
//!
//! This crate knows no socket, no HTTP server and no WebSocket: transports and brokers are crates of their own.
//! State machines ([`ring::Ring`], [`ingest::Replica`], [`reader::Reader`]) take the time as an argument.
//!
//! ```
//! use tidings_core::{Event, From, Hub, gate};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::builder().gate(gate::open()).build();
//! let mut inside = hub.subscribe("news", From::Now).await?;
//! let position = hub.publish("news", Event::json("headline", &"It works")?).await?;
//! let message = inside.next().await.expect("the hub is alive").into_message().expect("no gap");
//! assert_eq!(message.position(), position);
//! # Ok(()) }
//! ```

mod address;
pub mod broker;
mod command;
mod cursor;
mod encode;
mod event;
pub mod gate;
mod hub;
mod identity;
pub mod ingest;
mod limits;
mod message;
mod name;
mod notice;
mod policy;
mod position;
mod rate;
pub mod reader;
pub mod ring;
mod session;
mod subscribe;
mod surplus;
mod sync;
mod trace;
mod transport;
mod wheel;

pub use address::Address;
pub use broker::{Broker, MemoryBroker};
pub use command::{Command, CommandError, Token};
pub use cursor::{Cursor, CursorError, From};
pub use encode::{Encoder, EncodingId, Json};
pub use event::{Event, EventError};
pub use gate::{Denied, Gate, Identity};
pub use hub::{CallError, ClassStats, Crowded, Deliveries, Hub, HubBuilder, Lag, Members, NotReady, Stats};
pub use limits::Limits;
pub use message::{Content, Message};
pub use name::{EventName, NameError, RoomName};
pub use notice::{CloseReason, GapReason, HelloLimits, Notice};
pub use policy::{Kind, Presence, Retention, Rooms, Slow};
pub use position::{Position, PositionError};
pub use rate::{Buckets, Rate};
pub use session::{Batch, JoinError, Joined, Outlet, PublishError, Session, Step, Tray};
pub use subscribe::{Received, Subscription};
pub use transport::{Standing, Transport, Turn};
pub use wheel::{Alarm, Wheel};
