//! A chat on two nodes that share rooms on NATS, behind haproxy, which sends each connection and each request to the one
//! whose turn it is: nobody needs to come back to the same one. One command starts it all, each in a process of its own, so
//! that one can be ended to see what happens.

mod programs;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use programs::{Program, free_port};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidings::{
    Asset, Hub, Rooms, gate,
    nats::{NatsBroker, Storage},
};
use tokio::{net::TcpListener, time::timeout};

/// A chat on two nodes behind a proxy.
#[derive(Parser)]
struct Options {
    /// Where the proxy listens.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// One node alone
    Node {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
        listen: SocketAddr,
        /// Where the broker is.
        #[arg(long, default_value = "nats://127.0.0.1:4222", value_name = "URL")]
        broker: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match options.part {
        None => all(options.listen).await,
        Some(Part::Node { listen, broker }) => node(listen, &broker).await,
    }
}

/// A node: what any application of one would be, and a broker.
async fn node(listen: SocketAddr, broker: &str) -> anyhow::Result<()> {
    let broker = NatsBroker::builder(broker).storage(Storage::Memory).build()?;
    let ready = timeout(PATIENCE, broker.ready()).await;
    ready.with_context(|| format!("no broker: {}", broker.fault().unwrap_or_default()))?;
    let hub = Hub::builder()
        .gate(gate::open()) // anybody may read and write anywhere: it is a demonstration
        .broker(Arc::new(broker))
        .rooms("*", Rooms::log(200, Duration::from_secs(3_600)))
        .build();
    let service = tidings::service(hub)
        .ready("/ready")
        .page("/", Asset::new("text/html; charset=utf-8", include_str!("../../chat/page/index.html")))
        .page(
            "/chat.js",
            Asset::new("text/javascript; charset=utf-8", include_str!("../../chat/page/chat.js")),
        )
        .page("/chat.css", Asset::new("text/css; charset=utf-8", include_str!("../../chat/page/chat.css")));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("{}", listener.local_addr()?);
    tidings::serve(listener, service).until(tidings::shutdown_signal()?).await?;
    Ok(())
}

/// Everything, until it is told to stop.
async fn all(listen: SocketAddr) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let broker = format!("nats://127.0.0.1:{port}");
    let store = folder.path().join("nats").display().to_string();
    let mut nats =
        Program::nats().start(&["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd", &store])?;
    let (mut one, mut two) = (
        Program::node().start(&["node", "--broker", &broker])?,
        Program::node().start(&["node", "--broker", &broker])?,
    );
    let addresses = [one.line().await?, two.line().await?];
    let config = folder.path().join("haproxy.cfg");
    std::fs::write(&config, haproxy(listen, &addresses))?;
    let mut proxy = Program::haproxy().start(&["-db", "-f", &config.display().to_string()])?;
    println!("chat on http://{listen}; the nodes are the processes {} and {}", one.id(), two.id());
    let mut stop = Box::pin(tidings::shutdown_signal()?);
    let mut nodes = 2;
    loop {
        tokio::select! {
            () = &mut stop => break,
            ended = nats.ended() => return ended,
            ended = proxy.ended() => return ended,
            _ = one.ended(), if one.runs() => {}
            _ = two.ended(), if two.runs() => {}
        }
        nodes -= 1;
        ensure!(nodes > 0, "no node is left");
        println!("a node has ended; its clients go on at the other");
    }
    for mut program in [one, two, proxy, nats] {
        program.stop().await?;
    }
    Ok(())
}

/// Each its turn. A node that is about to end is left out after a moment, and who is sent to one that has ended is sent on.
fn haproxy(listen: SocketAddr, nodes: &[String]) -> String {
    let servers: String =
        (1..).zip(nodes).map(|(n, node)| format!("  server node{n} {node} check inter 500\n")).collect();
    format!(
        "defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
  option http-no-delay
frontend front
  bind {listen}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /ready
{servers}"
    )
}

/// How long another program may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
