//! An editor in which several people write one text at the same time. What each types is published into the document's
//! room, over whichever transport; the rooms bring it to everybody once and in order.

mod documents;

use anyhow::Context;
use clap::Parser;
use documents::{Documents, UPDATE, UPDATE_ROOMS, is_name};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidings::{
    Asset, Denied, Event, Gate, Hub, Identity, RoomName, Rooms, Service,
    gate::{Decision, RequestHead},
};
use tokio::net::TcpListener;

/// How the names of rooms begin in which members say who and where they are.
const MEMBER_ROOMS: &str = "members:";
/// What they say there, and the bytes that it may have.
const MEMBER_EVENTS: [&str; 2] = ["here", "gone"];
const LARGEST_MEMBER: usize = 1 << 10;

/// An editor for several people at once.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Updates that a document's room keeps for those who come back.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    history: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let documents = Arc::new(Documents::default());
    let updates = Rooms::log(options.history as usize, Duration::from_secs(3_600)).bytes(4 << 20);
    let hub = Hub::builder()
        .gate(Members(Arc::clone(&documents)))
        .rooms(&format!("{UPDATE_ROOMS}*"), updates)
        .rooms(&format!("{MEMBER_ROOMS}*"), Rooms::ephemeral())
        .build();
    documents.listen(&hub);
    let service = pages(tidings::service(hub));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("editor on http://{}", listener.local_addr()?);
    tidings::serve(listener, service).until(tidings::shutdown_signal()?).await?;
    Ok(())
}

fn pages(service: Service) -> Service {
    let html = "text/html; charset=utf-8";
    let css = "text/css; charset=utf-8";
    let js = "text/javascript; charset=utf-8";
    service
        .ready("/ready")
        .page("/", Asset::new(html, include_str!("../page/index.html")))
        .page("/page.css", Asset::new(css, include_str!("../page/page.css")))
        .page("/page.js", Asset::new(js, include_str!("../page/page.js")))
        .page("/binding.js", Asset::new(js, include_str!("../page/binding.js")))
        .page("/document.js", Asset::new(js, include_str!("../page/document.js")))
        .page("/members.js", Asset::new(js, include_str!("../page/members.js")))
        .page("/yjs.js", Asset::new(js, include_str!("../page/yjs.js")))
}

/// Anybody may write into any document, and only that: what is no update is taken from nobody.
struct Members(Arc<Documents>);

impl Gate for Members {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        Box::pin(async move {
            let name = room.strip_prefix(UPDATE_ROOMS).or_else(|| room.strip_prefix(MEMBER_ROOMS));
            if name.is_some_and(is_name) { Ok(()) } else { Err(Denied::forbidden("this is no document")) }
        })
    }

    fn publish<'a>(&'a self, _: &'a Identity, room: &'a RoomName, event: &'a Event) -> Decision<'a> {
        Box::pin(async move {
            let kind = event.name().as_str();
            if let Some(name) = room.strip_prefix(UPDATE_ROOMS).filter(|_| kind == UPDATE) {
                return self.0.check(name, event);
            }
            match room.strip_prefix(MEMBER_ROOMS) {
                Some(name) if is_name(name) && MEMBER_EVENTS.contains(&kind) => {}
                _ => return Err(Denied::forbidden("this is nothing that members publish")),
            }
            if event.data().len() > LARGEST_MEMBER {
                return Err(Denied::invalid("too_large", format!("at most {LARGEST_MEMBER} bytes")));
            }
            Ok(())
        })
    }
}
