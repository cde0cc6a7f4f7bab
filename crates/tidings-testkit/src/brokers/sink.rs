//! A node that only writes down what it is handed.

use std::sync::{Arc, Mutex, PoisonError};
use tidings::{Message, RoomName, broker::Sink};

/// What was handed over.
#[derive(Debug, Default)]
pub struct Notes {
    messages: Mutex<Vec<Arc<Message>>>,
    lost: Mutex<usize>,
}

impl Notes {
    /// The messages, in the order in which they came.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was told that messages may have been lost.
    pub fn lost(&self) -> usize {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Notes {
    fn live(&self, message: Arc<Message>) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    fn lost(&self, _: Option<&RoomName>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}
