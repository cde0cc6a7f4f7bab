//! Range reads.

use crate::{broker::milliseconds, frame, script::Arg};
use redis::Value;
use std::sync::Arc;
use tidings_core::{
    Message, Position, Retention, RoomName,
    broker::{ReadFrom, Slice},
};

/// The arguments of a range read; see `scripts/read.lua`.
pub(crate) fn args(from: ReadFrom, limit: usize, keeps: Retention, remembered: u64) -> [Arg<'static>; 10] {
    let (from, cursor) = match from {
        ReadFrom::Start => ("start", Position::UNKNOWN),
        ReadFrom::Tail => ("tail", Position::UNKNOWN),
        ReadFrom::After(cursor) => ("after", cursor),
    };
    [
        Arg::Bytes(from.as_bytes()),
        Arg::Number(cursor.epoch.into()),
        Arg::Number(cursor.offset),
        Arg::Number(cursor.tag.into()),
        Arg::Number(limit.max(1) as u64),
        Arg::Number(keeps.count as u64),
        Arg::Number(milliseconds(keeps.age)),
        Arg::Number(remembered),
        Arg::Number(rand::random::<u32>().max(1).into()),
        Arg::Number(PAGE_BYTES),
    ]
}

/// What a server answered. None: that is no answer.
pub(crate) fn slice(answer: Value, room: &RoomName, keeps: Retention) -> Option<Slice> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(meta), Value::Array(kept)] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let head = frame::position(&meta)?;
    let mut messages: Vec<Arc<Message>> = Vec::with_capacity(kept.len());
    for event in kept {
        let Value::BulkString(event) = event else { return None };
        let stored = frame::stored(&event.into());
        let end = messages.last().map(|last| last.position());
        if stored.as_ref().is_none_or(|stored| end.is_some_and(|end| stored.follows != end)) {
            // Somebody else has put something there. What is contiguous begins anew.
            messages.clear();
        }
        messages.extend(stored.map(|stored| Arc::new(stored.message(room.clone()))));
    }
    let mut start = messages.first().map_or(head, |first| first.follows());
    if messages.last().is_some_and(|last| last.position() == head)
        && let Some(last) = beyond(&messages, keeps.bytes).checked_sub(1)
    {
        start = messages[last].position();
        messages.drain(..=last);
    }
    Some(Slice::new(start, messages, head))
}

/// How many of the oldest messages are beyond a bound of bytes, where the newest is the room's.
fn beyond(messages: &[Arc<Message>], most: usize) -> usize {
    let mut bytes = 0_usize;
    let over = messages.iter().rposition(|message| {
        bytes = bytes.saturating_add(message.event().weight());
        bytes > most
    });
    // One may be larger than all that the room may keep.
    over.map_or(0, |last| (last + 1).min(messages.len() - 1))
}

/// Bytes of a page, passed by at most one step.
const PAGE_BYTES: u64 = 4 << 20;
