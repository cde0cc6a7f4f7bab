//! A network that cuts, freezes, delays and splits.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// A TCP relay in front of a server. What it does to the bytes can change at any time; it ends when dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    task: JoinHandle<()>,
}

/// What the relay does to the connections it carries.
#[derive(Debug, Clone, Copy)]
struct Weather {
    frozen: bool,
    delay: Duration,
    /// Bytes of one write at most.
    piece: usize,
    /// How often all connections were cut.
    cuts: u64,
}

impl Tap {
    /// A relay to `server` that passes everything on at once.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn to(server: SocketAddr) -> Self {
        // Else the kernel would take tens of megabytes while the tap is frozen.
        Self::narrow(server, 256 << 10).await
    }

    /// The same, of which the kernel keeps no more than about so many bytes of each connection while it is frozen, or
    /// twice as many.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn narrow(server: SocketAddr, buffer: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let fair = Weather { frozen: false, delay: Duration::ZERO, piece: 64 << 10, cuts: 0 };
        let weather = Arc::new(watch::Sender::new(fair));
        let relay = Arc::clone(&weather);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let weather = relay.subscribe();
                connections.spawn(async move {
                    // A connection that breaks is what the relay is for.
                    let _ = carry(client, server, buffer, weather).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, weather, task }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes nothing on any more, and closes nothing either.
    pub fn freeze(&self) {
        self.weather.send_modify(|weather| weather.frozen = true);
    }

    /// Passes on what waited.
    pub fn thaw(&self) {
        self.weather.send_modify(|weather| weather.frozen = false);
    }

    /// Resets every connection, both ways.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Holds back each piece for so long.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Passes on at most so many bytes in one write.
    pub fn split(&self, piece: usize) {
        self.weather.send_modify(|weather| weather.piece = piece.max(1));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    buffer: u32,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let cuts = weather.borrow_and_update().cuts;
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(buffer)?;
    let upstream = socket.connect(server).await?;
    for stream in [&client, &upstream] {
        stream.set_nodelay(true)?;
        // Closing is then a reset, unless the end of the stream was passed on before.
        stream.set_zero_linger()?;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = upstream.into_split();
    let up = pump(client_read, server_write, weather.clone());
    let down = pump(server_read, client_write, weather.clone());
    tokio::select! {
        _ = weather.wait_for(|weather| weather.cuts != cuts) => {}
        both = async { tokio::try_join!(up, down) } => drop(both?),
    }
    Ok(())
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let now = *weather.wait_for(|weather| !weather.frozen).await.map_err(io::Error::other)?;
        let read = from.read(&mut buffer[..now.piece.min(64 << 10)]).await?;
        let now = *weather.wait_for(|weather| !weather.frozen).await.map_err(io::Error::other)?;
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
