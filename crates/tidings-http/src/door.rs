//! How many connections a server has at once.

use crate::{Peer, traffic::Counts};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidings_core::{Address, Buckets, Rate};

/// Counts connections, and refuses those that are too many.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_of_one: usize,
    inside: Mutex<Inside>,
    counts: Arc<Counts>,
    /// Lines of the log, of each kind: whoever comes from many addresses could write one for each.
    lines: Buckets,
}

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    /// How many there are of each address, and of those that are not counted by address; none has none.
    places: HashMap<Option<Address>, (usize, Arc<Place>)>,
}

/// A connection's place, which is given back when it is dropped. No more than a pointer, for every connection has one.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Place>);

#[derive(Debug)]
struct Place {
    door: Door,
    address: Option<Address>,
}

impl Door {
    pub(crate) fn new(most: usize, most_of_one: usize, counts: Arc<Counts>) -> Self {
        let (most, most_of_one) = (within_descriptors(most), most_of_one);
        let lines = Buckets::new(Rate::per_second(1));
        Self(Arc::new(Shared { most, most_of_one, inside: Mutex::default(), counts, lines }))
    }

    /// A place for a connection, if there is one. A proxy's connections are counted only all together.
    pub(crate) fn enter(&self, peer: Peer, is_proxy: bool) -> Option<Permit> {
        let address = peer.address().filter(|_| !is_proxy);
        let full = {
            let mut inside = self.inside();
            let of_one = inside.places.get(&address).map_or(0, |(count, _)| *count);
            if inside.count >= self.0.most {
                "the server has as many connections as it takes"
            } else if address.is_some() && of_one >= self.0.most_of_one {
                "an address has as many connections as it may; a proxy's is to be named as one"
            } else {
                inside.count += 1;
                let place = || (0, Arc::new(Place { door: self.clone(), address }));
                let (count, place) = inside.places.entry(address).or_insert_with(place);
                *count += 1;
                self.0.counts.accepted();
                return Some(Permit(Arc::clone(place)));
            }
        };
        self.0.counts.turned_away();
        if self.0.lines.take(full).is_ok() {
            tracing::warn!(address = address.map(tracing::field::display), "a connection is refused: {full}");
        }
        None
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Place { door, address } = &*self.0;
        door.0.counts.gone();
        let mut inside = door.inside();
        inside.count -= 1;
        let Some((count, _)) = inside.places.get_mut(address) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        inside.places.remove(address);
        if inside.places.capacity() > KEPT.max(4 * inside.places.len()) {
            let enough = 2 * inside.places.len();
            inside.places.shrink_to(enough);
        }
    }
}

/// As many connections as there may be descriptors, with a margin for everything else that has one.
fn within_descriptors(most: usize) -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(descriptors) = descriptors.and_then(|limit| usize::try_from(limit).ok()) else { return most };
    let possible = descriptors.saturating_sub(MARGIN.min(descriptors / 4));
    if possible < most {
        tracing::warn!(
            "{possible} connections at most, and not {most}: the process may have {descriptors} descriptors (ulimit -n)"
        );
    }
    possible.min(most)
}

/// Descriptors for brokers, files and what the application opens itself.
const MARGIN: usize = 128;
/// Places in the map of addresses that are kept in any case.
const KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer::at(ip.parse().unwrap())
    }

    #[test]
    fn each_address_has_its_places_and_all_together_have_theirs() {
        let door = Door::new(4, 2, Arc::default());
        let enter = |ip| door.enter(peer(ip), false);
        let mut inside = vec![enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap()];
        assert!(enter("192.0.2.1").is_none(), "two of one");
        inside.push(enter("2001:db8:0:1::1").unwrap());
        inside.push(enter("2001:db8:0:1::2").unwrap());
        assert!(enter("192.0.2.2").is_none(), "four in all");
        drop(inside.remove(0));
        assert!(enter("2001:db8:0:1::3").is_none(), "the same network");
        assert!(enter("192.0.2.1").is_some(), "a place that was given back");
        inside.clear();
        let unlike: Vec<_> = [Peer::local(), peer("127.0.0.1"), peer("::1"), Peer::local()]
            .map(|peer| door.enter(peer, false))
            .into();
        assert!(unlike.iter().all(Option::is_some), "the machine's own are not counted by address");
        drop(unlike);
        let proxied: Vec<_> = (0..4).map(|_| door.enter(peer("192.0.2.1"), true)).collect();
        assert!(proxied.iter().all(Option::is_some), "a proxy has as many as there are");
        drop((inside, proxied));
        let inside = door.inside();
        assert_eq!((inside.count, inside.places.len()), (0, 0));
    }

    #[test]
    fn there_are_no_more_places_than_descriptors() {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let door = Door::new(usize::MAX, 1, Arc::default());
        assert!(descriptors.is_none_or(|descriptors| door.0.most < descriptors as usize));
    }
}
