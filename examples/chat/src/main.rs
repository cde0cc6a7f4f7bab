//! A chat whose members sit on WebSocket, Server-Sent Events and long-polling in the same room.

use anyhow::Context;
use clap::Parser;
use std::{net::SocketAddr, time::Duration};
use tidings::{Asset, Hub, Rooms, gate};
use tokio::net::TcpListener;

/// A chat over WebSocket, Server-Sent Events and long-polling.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Messages that a room keeps, for an hour.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    history: u32,
}

/// Bytes that a room keeps for each of its messages, long and short ones together.
const MESSAGE_BYTES: usize = 4 << 10;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let history = options.history as usize;
    let hub = Hub::builder()
        .gate(gate::open()) // anybody may read and write anywhere: it is a demonstration
        .rooms("*", Rooms::log(history, Duration::from_secs(3_600)).bytes(history * MESSAGE_BYTES))
        .build();
    let service = tidings::service(hub)
        .ready("/ready")
        .page("/", Asset::new("text/html; charset=utf-8", include_str!("../page/index.html")))
        .page("/chat.js", Asset::new("text/javascript; charset=utf-8", include_str!("../page/chat.js")))
        .page("/chat.css", Asset::new("text/css; charset=utf-8", include_str!("../page/chat.css")));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("chat on http://{}", listener.local_addr()?);
    tidings::serve(listener, service).until(tidings::shutdown_signal()?).await?;
    Ok(())
}
