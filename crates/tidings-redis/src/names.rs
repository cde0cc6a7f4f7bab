//! What keys and channels are called.

use std::sync::{Arc, LazyLock};
use tidings_core::RoomName;

/// The names of one installation. All its nodes must have the same.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: Arc<str>,
    /// Which database of the server: keys are in one, channels are in all.
    database: i64,
}

/// Which part of a cluster a room is in. All that belongs to a room has the same hash tag, so that one script can use
/// it; as there are fewer tags than slots, rooms move together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Partition(u8);

impl Partition {
    pub(crate) const COUNT: usize = 256;

    pub(crate) fn of(room: &str) -> Self {
        Self((hash(room.as_bytes()) % Self::COUNT as u64) as u8)
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    fn tag(self) -> u16 {
        TAGS[self.index()]
    }

    /// The slot of a cluster that it is in.
    pub(crate) fn slot(self) -> u16 {
        slot(self.tag().to_string().as_bytes())
    }
}

impl Names {
    /// `prefix` is of letters, digits, `-` and `_`.
    pub(crate) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.into(), database }
    }

    /// Where a room's epoch and its newest position are.
    pub(crate) fn meta(&self, room: &RoomName) -> String {
        format!("{}:{{{}}}:m:{room}", self.prefix, Partition::of(room).tag())
    }

    /// Where a room's history is.
    pub(crate) fn stream(&self, room: &RoomName) -> String {
        format!("{}:{{{}}}:s:{room}", self.prefix, Partition::of(room).tag())
    }

    /// Where it is noted that an idempotency key was used. No room's name holds a NUL.
    pub(crate) fn key(&self, room: &RoomName, key: &str) -> String {
        format!("{}:{{{}}}:k:{room}\0{key}", self.prefix, Partition::of(room).tag())
    }

    /// Where what is published in a room is handed over.
    pub(crate) fn channel(&self, room: &RoomName) -> String {
        format!("{}:{{{}}}:l:{}:{room}", self.prefix, Partition::of(room).tag(), self.database)
    }

    /// The room of a channel.
    pub(crate) fn room<'a>(&self, channel: &'a [u8]) -> Option<&'a str> {
        let rest = std::str::from_utf8(channel).ok()?.strip_prefix(&*self.prefix)?;
        // Neither a prefix nor a tag has a brace in it, and a database no colon.
        let (_, rest) = rest.split_once("}:l:")?;
        Some(rest.split_once(':')?.1)
    }
}

/// FNV-1a with a last mix: every node and every version must come to the same.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// The slot of a hash tag: CRC-16 of XMODEM, as the specification of Redis Cluster says.
fn slot(tag: &[u8]) -> u16 {
    let bit = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let byte = |crc: u16, byte: &u8| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| bit(crc));
    tag.iter().fold(0, byte) % SLOTS
}

/// The slots of every cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// The hash tag of each partition: the smallest number whose slot lies in the partition's share of the slots. So the
/// partitions are spread evenly over servers whose slots are.
static TAGS: LazyLock<[u16; Partition::COUNT]> = LazyLock::new(|| {
    let share = SLOTS / Partition::COUNT as u16;
    let mut tags = [None; Partition::COUNT];
    for tag in 0..=u16::MAX {
        let place = &mut tags[usize::from(slot(tag.to_string().as_bytes()) / share)];
        *place = place.or(Some(tag));
    }
    tags.map(|tag| tag.unwrap_or_default())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
    }

    #[test]
    fn each_partition_has_a_slot_in_its_own_share() {
        for partition in Partition::all() {
            assert_eq!(usize::from(partition.slot()) / 64, partition.index());
        }
    }

    #[test]
    fn names_are_the_same_for_every_version() {
        let names = Names::new("td", 3);
        let room = RoomName::new("a {room}:*").unwrap();
        let tag = Partition::of(&room).tag();
        assert_eq!((Partition::of(&room), tag), (Partition(210), 242));
        assert_eq!(names.meta(&room), "td:{242}:m:a {room}:*");
        assert_eq!(names.stream(&room), "td:{242}:s:a {room}:*");
        assert_eq!(names.key(&room, "k"), "td:{242}:k:a {room}:*\0k");
        assert_eq!(names.channel(&room), "td:{242}:l:3:a {room}:*");
        assert_eq!(names.room(names.channel(&room).as_bytes()), Some(room.as_str()));
        assert_eq!(hash(b""), 0xecba_3df2_c338_3c52);
        for other in ["", "td", "td:{7}:l:3", "other:{7}:l:3:a", "td:{7}:m:a"] {
            assert_eq!(names.room(other.as_bytes()), None, "{other}");
        }
    }
}
