//! A plain server for outside tools: the facade, an open gate, every transport under `/realtime/`.

use anyhow::Context;
use clap::Parser;
use std::{net::SocketAddr, time::Duration};
use tidings::{Hub, Rooms, gate};
use tokio::net::TcpListener;

/// A plain server for outside tools: an open gate, every transport under /realtime/.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDR")]
    listen: SocketAddr,
    /// Events that each room keeps.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    history: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let hub = Hub::builder()
        .gate(gate::open()) // for measurements on the loopback
        .rooms("*", Rooms::log(options.history, Duration::from_secs(3_600)))
        .build();
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("listening on http://{}/realtime/", listener.local_addr()?);
    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("cannot wait for SIGINT, so stopping now: {error}");
        }
    };
    tidings::serve(listener, tidings::service(hub)).until(stop).await?;
    Ok(())
}
