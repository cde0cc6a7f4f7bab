//! Answers that are typed out token by token, each into a room of its own: whoever reads may reload, go away and
//! come back, open a second tab or change the transport, and still has every token once.

mod answers;

use answers::{ANSWER_ROOMS, Answers};
use anyhow::Context;
use clap::Parser;
use std::{net::SocketAddr, time::Duration};
use tidings::{
    Asset, Denied, Event, Gate, Hub, Identity, RoomName, Rooms,
    gate::{Decision, RequestHead},
};
use tokio::net::TcpListener;

/// Answers that are typed out token by token and survive their readers' connections.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Tokens of one answer in a second.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let hub = Hub::builder()
        .gate(Readers)
        .rooms(&format!("{ANSWER_ROOMS}*"), Rooms::log(2_000, Duration::from_secs(3_600)))
        .build();
    Answers::new(hub.clone(), options.rate).listen();
    let service = tidings::service(hub)
        .ready("/ready")
        .page("/", Asset::new("text/html; charset=utf-8", include_str!("../page/index.html")))
        .page("/page.js", Asset::new("text/javascript; charset=utf-8", include_str!("../page/page.js")))
        .page("/page.css", Asset::new("text/css; charset=utf-8", include_str!("../page/page.css")));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("token-stream on http://{}", listener.local_addr()?);
    tidings::serve(listener, service).until(tidings::shutdown_signal()?).await?;
    Ok(())
}

/// Anybody may ask, and read an answer whose room they can name; only the server writes.
struct Readers;

impl Gate for Readers {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        Box::pin(async move {
            if room.starts_with(ANSWER_ROOMS) { Ok(()) } else { Err(Denied::forbidden("this is no answer")) }
        })
    }

    fn publish<'a>(&'a self, _: &'a Identity, _: &'a RoomName, _: &'a Event) -> Decision<'a> {
        Box::pin(async { Err(Denied::forbidden("only the server writes answers")) })
    }
}
