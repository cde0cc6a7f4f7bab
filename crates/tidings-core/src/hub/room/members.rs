//! Who is in a room.

use crate::{session::Mailbox, surplus::surplus};
use slab::Slab;
use std::sync::Arc;

/// A room's members, in a list without holes: a crowd that has gone costs nobody anything.
#[derive(Default)]
pub(super) struct Members {
    list: Vec<Member>,
    /// Where in the list each is, by its key.
    places: Slab<u32>,
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
    pub(super) fn insert(&mut self, mailbox: Arc<Mailbox>, subscription: usize) -> usize {
        let key = self.places.insert(self.list.len() as u32);
        self.list.push(Member { mailbox, subscription: subscription as u32, key: key as u32 });
        key
    }

    /// Removes a member; the last takes its place.
    pub(super) fn remove(&mut self, key: usize) -> Option<Member> {
        let place = self.places.try_remove(key)?;
        let member = self.list.swap_remove(place as usize);
        if let Some(moved) = self.list.get(place as usize) {
            self.places[moved.key as usize] = place;
        }
        if self.is_empty() {
            *self = Self::default();
        }
        Some(member)
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
        if surplus(self.places.capacity(), self.places.len(), KEPT).is_some() {
            self.places.shrink_to_fit();
        }
    }
}

/// Places that are kept in any case.
const KEPT: usize = 64;

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

    proptest! {
        #[test]
        fn a_pass_misses_nobody_who_stays_whoever_comes_and_goes(
            before in 0..40_usize,
            piece in 1..9_usize,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let mailbox = Arc::new(Mailbox::new(Arc::new(Silent), None, 0));
            let mut members = Members::default();
            let mut there = Vec::new();
            let come = |members: &mut Members, there: &mut Vec<(usize, usize)>, number| {
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
                        let (key, number) = there.swap_remove(which.index(there.len()));
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
