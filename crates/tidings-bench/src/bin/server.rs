//! A plain server for outside tools and for the tests of the browser client: the facade, every transport under
//! `/realtime/`, an open gate or one that wants a token.

use anyhow::Context;
use clap::Parser;
use std::{io, net::SocketAddr, time::Duration};
use tidings::{
    Asset, CallError, Denied, Event, Gate, Hub, Identity, Limits, Presence, Rate, Rooms, gate,
    gate::{Decision, RequestHead},
};
use tokio::{
    io::Join,
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A plain server for outside tools: every transport under /realtime/, and an empty page.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDR")]
    listen: SocketAddr,
    /// Events that each room keeps.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    history: usize,
    /// Let in only who shows this token, as a bearer or in the query.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Milliseconds of silence before a sign of life.
    #[arg(long, value_name = "MS")]
    heartbeat: Option<u64>,
    /// Rooms that one session may be in.
    #[arg(long, value_name = "N")]
    rooms: Option<usize>,
    /// Bytes of one command.
    #[arg(long, value_name = "BYTES")]
    message: Option<usize>,
    /// Share rooms with other nodes by this broker, such as nats://127.0.0.1:4222 or redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Tell who is in the rooms of this name, or with a * at the end in all that begin so. A client says who it is by the header
    /// x-user.
    #[arg(long, value_name = "PATTERN", conflicts_with = "token")]
    presence: Option<String>,
    /// Seconds that clients may take to go when the server is told to end.
    #[arg(long, default_value_t = 10, value_name = "S")]
    patience: u64,
    /// Connections that are taken in a second.
    #[arg(long, value_name = "N")]
    accepts: Option<u32>,
    /// Serve by axum.
    #[arg(long)]
    axum: bool,
    /// Serve by axum, and let it write all there is to write.
    #[arg(long, conflicts_with = "axum")]
    through_axum: bool,
    /// Threads; with one, which is then the only one of the process, nothing is shared between threads.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Options {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.heartbeat = self.heartbeat.map_or(limits.heartbeat, Duration::from_millis);
        limits.rooms = self.rooms.unwrap_or(limits.rooms);
        limits.message = self.message.unwrap_or(limits.message);
        // What is measured is how fast it is, by few who ask for all they can.
        (limits.session_commands, limits.user_commands) = (Rate::unlimited(), Rate::unlimited());
        limits.user_sessions = usize::MAX;
        limits
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut builder = match options.threads {
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = options.threads {
        builder.worker_threads(threads.max(1));
    }
    builder.enable_all().build()?.block_on(run(options))
}

async fn run(options: Options) -> anyhow::Result<()> {
    let mut builder = Hub::builder()
        .rooms("latest:*", Rooms::latest())
        .rooms("*", Rooms::log(options.history, Duration::from_secs(3_600)))
        .limits(options.limits());
    if let Some(address) = &options.broker {
        builder = builder.broker(tidings_bench::broker(address).await?);
    }
    if let Some(pattern) = &options.presence {
        let rooms = Rooms::log(options.history, Duration::from_secs(3_600));
        builder = builder.rooms(pattern, rooms.presence(Presence::new().listed(1_000)));
    }
    let hub = match options.token {
        Some(token) => builder.gate(Bearer { token }).build(),
        None if options.presence.is_some() => builder.gate(ByName).build(),
        None => builder.gate(gate::open()).build(), // for measurements on the loopback
    };
    hub.on_call("echo", |_, said: String| async move { Ok::<_, CallError>(said) });
    let rooms = hub.clone();
    hub.on_call("end", move |_, room: String| {
        let rooms = rooms.clone();
        async move {
            let wrong = |error: &dyn std::fmt::Display| CallError::new("bad_data", error.to_string());
            let last = Event::json("n", "last").map_err(|error| wrong(&error))?.last();
            rooms.publish(&*room, last).await.map_err(|error| wrong(&error))?;
            Ok(())
        }
    });
    let service =
        tidings::service(hub.clone()).ready("/ready").page("/", Asset::new("text/html; charset=utf-8", PAGE));
    let traffic = service.clone();
    hub.on_call("accepted", move |_, ()| {
        let accepted = traffic.traffic().accepted;
        async move { Ok(accepted) }
    });
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("listening on http://{}/realtime/", listener.local_addr()?);
    let (stop, patience) = (tidings::shutdown_signal()?, Duration::from_secs(options.patience));
    if options.axum || options.through_axum {
        let drained = async move {
            stop.await;
            hub.drain(patience).await;
        };
        let app = axum::Router::new().fallback_service(service);
        if options.axum {
            let listener = tidings::axum::Listener::from(listener);
            let app = app.into_make_service_with_connect_info::<tidings::axum::Connection>();
            axum::serve(listener, app).with_graceful_shutdown(drained).await?;
            return Ok(());
        }
        axum::serve(Veiled(listener), app).with_graceful_shutdown(drained).await?;
        return Ok(());
    }
    // A tenth at once, so that in no second there are many more.
    let accepts = options.accepts.map_or(Rate::unlimited(), |rate| Rate::per_second(rate).burst(rate / 10));
    tidings::serve(listener, service).patience(patience).accepts(accepts).until(stop).await?;
    Ok(())
}

/// A listener whose connections nobody knows to be sockets, as it is with TLS.
struct Veiled(TcpListener);

impl axum::serve::Listener for Veiled {
    type Io = Join<OwnedReadHalf, OwnedWriteHalf>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.0).await;
        // Else the kernel may hold an event back until the one before has been acknowledged.
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("a connection with delays: {error}");
        }
        let (read, write) = stream.into_split();
        (tokio::io::join(read, write), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Lets in who shows the token; the room `forbidden` is for nobody.
struct Bearer {
    token: String,
}

impl Gate for Bearer {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let shown = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let in_header = shown.and_then(|value| value.strip_prefix("Bearer "));
        let query = head.uri.query().unwrap_or_default();
        let in_query = query.split('&').find_map(|field| field.strip_prefix("token="));
        let known = [in_header, in_query].contains(&Some(&self.token));
        Box::pin(async move {
            if known { Ok(Identity::user("tester")) } else { Err(Denied::unauthorized("show the token")) }
        })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a tidings::RoomName) -> Decision<'a> {
        let open = room.as_str() != "forbidden";
        Box::pin(async move { if open { Ok(()) } else { Err(Denied::forbidden("for nobody")) } })
    }
}

/// Takes anybody's word for who it is.
struct ByName;

impl Gate for ByName {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let name = head.headers.get("x-user").and_then(|name| name.to_str().ok());
        let who = name.map_or_else(Identity::anonymous, Identity::user);
        Box::pin(async move { Ok(who) })
    }
}

/// What a browser needs to run a script from this origin.
const PAGE: &str = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>Tidings</title>";
