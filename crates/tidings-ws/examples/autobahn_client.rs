//! An echo client for the Autobahn suite's fuzzing server: `cargo xtask autobahn --client` runs it.
//!
//! Arguments: the server's address, and our name in the reports.

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use std::env;
use tidings_ws::{Message, Socket, SocketError, connect, decode::Limits};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let address = args.next().context("an address is missing")?;
    let agent = args.next().unwrap_or_else(|| "tidings".to_owned());
    let mut socket = open(&address, "/getCaseCount").await?;
    let Some(Message::Text(count)) = socket.next().await.transpose()? else {
        anyhow::bail!("the server does not say how many cases there are");
    };
    let count: u32 = count.parse()?;
    println!("{count} cases");
    for case in 1..=count {
        let socket = open(&address, &format!("/runCase?case={case}&agent={agent}")).await?;
        // What goes wrong is the server's to judge.
        let _ = echo(socket).await;
    }
    let mut socket = open(&address, &format!("/updateReports?agent={agent}")).await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}

async fn open(address: &str, path: &str) -> Result<Socket<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(connect(stream, address, path).await?.limits(Limits::new(LIMIT, LIMIT)))
}

async fn echo(mut socket: Socket<TcpStream>) -> Result<(), SocketError> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            match socket.send(message).await {
                Err(SocketError::Closed) => {}
                sent => sent?,
            }
        }
    }
    Ok(())
}

/// Bytes of a message.
const LIMIT: usize = 16 << 20;
