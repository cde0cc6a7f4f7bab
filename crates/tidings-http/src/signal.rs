//! When a server is told to end.

use std::{future::Future, io};
use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the process is told to end: by SIGTERM, as service managers do, or by SIGINT, ctrl-c. From this call on
/// neither ends the process by itself.
///
/// # Errors
/// If the system does not let the process wait for them.
///
/// # Panics
/// Outside of a tokio runtime that has its I/O enabled.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
