//! A node that only writes down what it is handed.

use std::sync::{Arc, Mutex};
use tidings_core::{Message, RoomName, broker::Sink};

#[derive(Default)]
pub(crate) struct Notes {
    messages: Mutex<Vec<Arc<Message>>>,
    lost: Mutex<usize>,
}

impl Notes {
    pub(crate) fn messages(&self) -> Vec<Arc<Message>> {
        self.messages.lock().expect("no test panics with it").clone()
    }

    pub(crate) fn lost(&self) -> usize {
        *self.lost.lock().expect("no test panics with it")
    }
}

impl Sink for Notes {
    fn live(&self, message: Arc<Message>) {
        self.messages.lock().expect("no test panics with it").push(message);
    }

    fn lost(&self, _: Option<&RoomName>) {
        *self.lost.lock().expect("no test panics with it") += 1;
    }
}
