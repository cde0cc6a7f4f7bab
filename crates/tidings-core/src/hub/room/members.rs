//! Who is in a room.

use crate::{session::Mailbox, surplus::surplus};
use std::sync::Arc;

/// A room's members, in a list without holes: a crowd that has gone costs nobody anything.
#[derive(Default)]
pub(super) struct Members {
    list: Vec<Member>,
    /// Where in the list each is, by its key; of keys that are free, which is the next. A slab would take four times as much.
    places: Vec<u32>,
    /// A free key, if any is.
    free: Option<u32>,
}

/// A subscription of a session. Its numbers are small ones, for there are as many of it as there are memberships.
#[derive(Clone)]
pub(in crate::hub) struct Member {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) subscription: u32,
    key: u32,
}

impl Members {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a member at the end, and answers its key.
    pub(super) fn insert(&mut self, mailbox: Arc<Mailbox>, subscription: usize) -> u32 {
        let place = self.list.len() as u32;
        let key = self.free.unwrap_or(self.places.len() as u32);
        match self.places.get_mut(key as usize) {
            Some(free) => self.free = Some(std::mem::replace(free, place)).filter(|next| *next != END),
            None => self.places.push(place),
        }
        self.list.push(Member { mailbox, subscription: subscription as u32, key });
        key
    }

    /// Removes a member; the last takes its place.
    pub(super) fn remove(&mut self, key: u32) -> Option<Member> {
        let place = self.place_of(key)?;
        let member = self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places[moved.key as usize] = place as u32;
        }
        self.let_go(key);
        if self.is_empty() {
            *self = Self::default();
        }
        Some(member)
    }

    /// Where one is in the list; nowhere if its key is free.
    fn place_of(&self, key: u32) -> Option<usize> {
        let place = *self.places.get(key as usize)? as usize;
        self.list.get(place).is_some_and(|member| member.key == key).then_some(place)
    }

    /// Makes a key free.
    fn let_go(&mut self, key: u32) {
        self.places[key as usize] = self.free.replace(key).unwrap_or(END);
    }

    /// The last `count` of those before `place`, and the place of the first of them. Who goes through all, from the end
    /// and piece by piece, passes over nobody: a member takes a place that is farther from the end, and those who come
    /// meanwhile stand behind.
    pub(super) fn before(&self, place: usize, count: usize) -> (&[Member], usize) {
        let end = place.min(self.list.len());
        let start = end.saturating_sub(count);
        (&self.list[start..end], start)
    }

    /// Gives back what a crowd has left behind.
    pub(super) fn shrink(&mut self) {
        if let Some(enough) = surplus(self.list.capacity(), self.list.len(), KEPT) {
            self.list.shrink_to(enough);
        }
        if let Some(enough) = surplus(self.places.capacity(), self.list.len(), KEPT) {
            let highest = self.list.iter().map(|member| member.key as usize + 1).max().unwrap_or_default();
            if highest < self.places.len() {
                // Some of the free keys go; the others are free still.
                self.places.truncate(highest);
                self.free = None;
                let free = (0..highest as u32).filter(|key| self.place_of(*key).is_none());
                // The lowest is taken first, so that the others can go.
                free.collect::<Vec<_>>().into_iter().rev().for_each(|key| self.let_go(key));
            }
            self.places.shrink_to(enough);
        }
    }
}

/// After this free key there is no other. No member has it for its place: there are never so many.
const END: u32 = u32::MAX;
/// Places that are kept in any case.
const KEPT: usize = if cfg!(test) { 4 } else { 64 };

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;
    use crate::{Encoder, Json, Notice, Transport, transport::Standing};
    use bytes::BytesMut;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    struct Silent;

    impl Transport for Silent {
        fn name(&self) -> &'static str {
            "test"
        }

        fn encoder(&self) -> &dyn Encoder {
            &Json
        }

        fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
    }

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(Arc::new(Silent), None, 0))
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_nothing_and_keys_are_used_again() {
        let mut members = Members::default();
        let all: Vec<_> = (0..10_000).map(|number| (members.insert(mailbox(), number), number)).collect();
        let stays = |number: usize| number % 2_000 == 7;
        for (key, number) in all.iter().filter(|(_, number)| !stays(*number)) {
            assert_eq!(members.remove(*key).map(|member| member.subscription as usize), Some(*number));
            assert!(members.remove(*key).is_none(), "its key is free");
        }
        members.shrink();
        assert!(members.list.capacity() <= 4 * KEPT);
        assert_eq!(members.places.len(), 8_008, "the highest key stays");
        let key = members.insert(mailbox(), 0);
        assert_eq!(key, 0, "the lowest first");
        assert!(members.remove(key).is_some());
        let mut keys: Vec<_> = (0..8_003).map(|number| members.insert(mailbox(), number)).collect();
        keys.extend(all.iter().filter(|(_, number)| stays(*number)).map(|(key, _)| *key));
        keys.sort_unstable();
        assert_eq!(keys, (0..8_008).collect::<Vec<_>>(), "each key once, and all of them");
        keys.iter().for_each(|key| assert!(members.remove(*key).is_some()));
        assert_eq!((members.list.capacity(), members.places.capacity(), members.free), (0, 0, None));
    }

    proptest! {
        #[test]
        fn a_pass_misses_nobody_who_stays_whoever_comes_and_goes(
            before in 0..40_usize,
            piece in 1..9_usize,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let mailbox = mailbox();
            let mut members = Members::default();
            let mut there = Vec::new();
            let come = |members: &mut Members, there: &mut Vec<(u32, usize)>, number| {
                there.push((members.insert(Arc::clone(&mailbox), number), number));
            };
            (0..before).for_each(|number| come(&mut members, &mut there, number));
            let first: BTreeSet<_> = (0..before).collect();
            let mut served = BTreeSet::new();
            let mut place = usize::MAX;
            let mut steps = steps.into_iter().enumerate();
            while place > 0 {
                let (some, start) = members.before(place, piece);
                prop_assert!(some.len() <= piece);
                served.extend(some.iter().map(|member| member.subscription as usize));
                place = start;
                for (at, (comes, which)) in steps.by_ref().take(3) {
                    if comes {
                        come(&mut members, &mut there, before + at);
                    } else if !there.is_empty() {
                        let (key, number): (u32, usize) = there.swap_remove(which.index(there.len()));
                        let gone = members.remove(key);
                        prop_assert_eq!(gone.map(|member| member.subscription as usize), Some(number));
                    }
                }
                prop_assert_eq!(members.len(), there.len());
                members.shrink();
            }
            let stayed = there.iter().map(|(_, number)| *number).filter(|number| first.contains(number));
            for number in stayed {
                prop_assert!(served.contains(&number), "{} was passed over", number);
            }
        }
    }
}
