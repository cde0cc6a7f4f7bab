//! One echo server for each library, each the way its own documentation shows.

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future::ready};
use http_body_util::Empty;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::io::Write;
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Engine {
    Tidings,
    TokioTungstenite,
    Fastwebsockets,
    Yawc,
}

type Answer = Result<Response<Empty<Bytes>>>;

impl Engine {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(crate) fn compresses(self) -> bool {
        matches!(self, Self::Tidings | Self::Yawc)
    }
}

pub(crate) async fn serve(engine: Engine) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The client ends connections as it likes.
            let _ = match engine {
                Engine::TokioTungstenite => tungstenite(stream).await,
                Engine::Tidings => over_hyper(stream, tidings).await,
                Engine::Fastwebsockets => over_hyper(stream, fastwebsockets).await,
                Engine::Yawc => over_hyper(stream, yawc).await,
            };
        });
    }
}

async fn over_hyper(stream: TcpStream, answer: fn(Request<Incoming>) -> Answer) -> Result<()> {
    let service = service_fn(move |request| std::future::ready(answer(request)));
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
}

fn tidings(mut request: Request<Incoming>) -> Answer {
    use tidings_ws::Message::{Binary, Text};
    let (response, socket) = tidings_ws::upgrade(&mut request)?;
    tokio::spawn(async move {
        let mut socket = socket.await?;
        while let Some(message) = socket.next().await.transpose()? {
            if matches!(message, Text(_) | Binary(_)) {
                socket.feed(message).await?;
            }
            if !socket.has_more() {
                socket.flush().await?;
            }
        }
        anyhow::Ok(())
    });
    Ok(response.map(|()| Empty::new()))
}

async fn tungstenite(stream: TcpStream) -> Result<()> {
    let (write, read) = tokio_tungstenite::accept_async(stream).await?.split();
    Ok(read.try_filter(|message| ready(message.is_text() || message.is_binary())).forward(write).await?)
}

fn fastwebsockets(mut request: Request<Incoming>) -> Answer {
    use fastwebsockets::{FragmentCollector, OpCode, upgrade::upgrade};
    let (response, socket) = upgrade(&mut request)?;
    tokio::spawn(tokio::task::unconstrained(async move {
        let mut socket = FragmentCollector::new(socket.await?);
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Close => return anyhow::Ok(()),
                OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
                _ => {}
            }
        }
    }));
    Ok(response)
}

fn yawc(mut request: Request<Incoming>) -> Answer {
    use yawc::{CompressionLevel, OpCode, Options, WebSocket};
    let options = Options::default()
        .with_utf8()
        .with_compression_level(CompressionLevel::fast())
        .server_no_context_takeover()
        .client_no_context_takeover();
    let (response, socket) = WebSocket::upgrade_with_options(&mut request, options)?;
    tokio::spawn(async move {
        let mut socket = socket.await?;
        while let Some(frame) = socket.next().await {
            if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) {
                socket.send(frame).await?;
            }
        }
        anyhow::Ok(())
    });
    Ok(response.map(|_| Empty::new()))
}
