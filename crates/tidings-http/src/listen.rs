//! What a server listens on.

use crate::Peer;
use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::FileTypeExt, fs::MetadataExt, net},
    },
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// What a server listens on: a TCP port, of IPv4, of IPv6 or of both, or a Unix socket.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Option<SocketFile> },
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

impl From<UnixListener> for Listener {
    /// The socket's file stays when the server ends; one that is made by [`bind_unix`] goes.
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix { listener, _file: None })
    }
}

impl Listener {
    /// Asks the system for a queue that is as long as it gives (`net.core.somaxconn`): tokio's has 128 places, and whoever finds
    /// none comes again after a second, and after two more.
    pub(crate) fn lengthen(&self) {
        let listening = match &self.0 {
            Kind::Tcp(listener) => rustix::net::listen(listener, QUEUE),
            Kind::Unix { listener, .. } => rustix::net::listen(listener, QUEUE),
        };
        if let Err(error) = listening {
            tracing::warn!("the queue of new connections stays short: {error}");
        }
    }

    /// The next connection, and whose it is.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                listener.accept().await.map(|(stream, address)| (stream, Peer::at(address.ip())))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                // It is a stream as well, read and written by the same calls; only what is TCP's own it refuses. So there is
                // one kind of connection for all that comes behind this.
                let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
                Ok((TcpStream::from_std(stream)?, Peer::local()))
            }
        }
    }
}

/// Listens on a Unix socket, whose file is removed when the server ends.
///
/// A file that a server has left behind, which was killed, is replaced. Who may connect is for the rights of the folder to say.
///
/// # Errors
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody listens there, [`AlreadyExists`](io::ErrorKind::AlreadyExists) if
/// there is a file that is no socket, and what the system refuses.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<Listener> {
    let path = path.as_ref();
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let what = format!("{} is there and no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => match net::UnixStream::connect(path) {
            Ok(_) => {
                let what = format!("somebody listens on {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile::of(path)?;
    Ok(Listener(Kind::Unix { listener, _file: Some(file) }))
}

/// The file of a socket, which is removed with it, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    file: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        // The working folder may be another by the time when it is removed.
        Ok(Self { path: std::path::absolute(path)?, file: id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|file| file == self.file) {
            // What cannot be removed is replaced by the next who listens there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Half a minute of 500 connections a second; the system takes less if it must.
const QUEUE: i32 = 16 << 10;
