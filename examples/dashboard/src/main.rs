//! A dashboard: the newest values of many rooms, a hundred times a second each. Who is slow skips to the newest.

mod board;
mod figures;
mod instruments;

use anyhow::Context;
use board::Board;
use clap::{Parser, value_parser};
use std::net::SocketAddr;
use tidings::{Asset, Hub, Rooms, gate};
use tokio::{net::TcpListener, task::JoinSet};

/// A dashboard of this server's own figures, and of simulated instruments.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Updates of each instrument in a second.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Stop each instrument after so many updates; never, unless given.
    #[arg(long, value_name = "N")]
    updates: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let hub = Hub::builder().gate(gate::read_only()).rooms("*", Rooms::latest()).build();
    let board = Board::new(hub.clone());
    let mut writers = JoinSet::new();
    writers.spawn(figures::publish(board.clone()));
    for instrument in instruments::ALL {
        writers.spawn(instrument.publish(board.clone(), options.rate, options.updates));
    }
    let service = tidings::service(hub)
        .ready("/ready")
        .page("/", Asset::new("text/html; charset=utf-8", include_str!("../page/index.html")))
        .page("/page.js", Asset::new("text/javascript; charset=utf-8", include_str!("../page/page.js")))
        .page("/chart.js", Asset::new("text/javascript; charset=utf-8", include_str!("../page/chart.js")))
        .page("/page.css", Asset::new("text/css; charset=utf-8", include_str!("../page/page.css")));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("dashboard on http://{}", listener.local_addr()?);
    tokio::select! {
        served = tidings::serve(listener, service).until(tidings::shutdown_signal()?) => Ok(served?),
        Err(error) = all(writers) => Err(error),
    }
}

/// Waits for all that write, or for the first that cannot.
async fn all(mut writers: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}
