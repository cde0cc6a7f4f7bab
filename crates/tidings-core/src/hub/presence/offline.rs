//! Telling the application that a user has gone.

use super::super::Node;
use crate::{CallError, RoomName};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::Semaphore;

type Handler = Arc<dyn Fn(String, RoomName) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What the application wants to be called with.
#[derive(Clone)]
pub(in crate::hub) struct Offline {
    handler: Handler,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Offline {
    pub(in crate::hub) fn new<F>(handler: impl Fn(String, RoomName) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |user, room| Box::pin(handler(user, room)));
        Self { handler, turns: Arc::new(Semaphore::new(TURNS)), waiting: Arc::default() }
    }

    /// Says that a user has gone from a room, in the background.
    pub(super) fn tell(&self, node: &Arc<Node>, user: String, room: RoomName) {
        if self.waiting.fetch_add(1, Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Relaxed);
            tracing::error!("so many users have gone that the application is not told of all");
            return;
        }
        let (this, node) = (self.clone(), Arc::clone(node));
        tokio::spawn(async move {
            let _turn = this.turns.acquire().await;
            let call = async {
                (this.handler)(user, room).await;
                Ok::<_, CallError>(())
            };
            // What has failed is counted and in the log.
            let _ = node.guard("offline", node.limits.call_wait, call).await;
            this.waiting.fetch_sub(1, Relaxed);
        });
    }
}

/// Calls at once.
const TURNS: usize = 64;
/// Calls that wait for their turn.
const WAITING: usize = 10_000;
