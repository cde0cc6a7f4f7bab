//! Who is in a room, from the words of the nodes.

use super::Members;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A word of a node about a room. Each says all that its node has to say, so that nothing is lost by missing an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Word {
    /// These users are in the room by this node: so many, of whom the first by name are listed. `number` rises from word to
    /// word of a node.
    Here { node: u64, number: u64, count: usize, users: Vec<String> },
    /// The node has gone after that word, says another, which is the one to tell the application so.
    Gone { node: u64, number: u64, by: u64 },
}

/// Who is in a room: the newest word of each node.
#[derive(Debug, Default)]
pub(super) struct Fold {
    parts: BTreeMap<u64, Told>,
}

/// What a node has told last.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) number: u64,
    count: usize,
    /// Sorted.
    users: Vec<String>,
}

impl Word {
    /// Whose doing it is.
    fn by(&self) -> u64 {
        match self {
            Self::Here { node, .. } => *node,
            Self::Gone { by, .. } => *by,
        }
    }
}

impl Fold {
    /// Takes the next word. Answers which users left the room by it, if it is the word of `me` and all are listed.
    pub(super) fn take(&mut self, word: Word, me: u64) -> Vec<String> {
        let mine = word.by() == me;
        let before = match word {
            Word::Here { node, number, count, mut users } => {
                if self.parts.get(&node).is_some_and(|told| told.number >= number) {
                    return Vec::new();
                }
                users.sort_unstable();
                users.dedup();
                if count == 0 {
                    self.parts.remove(&node)
                } else {
                    self.parts.insert(node, Told { number, count, users })
                }
            }
            // It may have said something since, and then it has not gone.
            Word::Gone { node, number, .. } => match self.parts.get(&node) {
                Some(told) if told.number <= number => self.parts.remove(&node),
                _ => None,
            },
        };
        match before {
            Some(Told { users, .. }) if mine && self.parts.values().all(Told::is_whole) => {
                users.into_iter().filter(|user| !self.has(user)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn has(&self, user: &str) -> bool {
        self.parts.values().any(|told| told.has(user))
    }

    /// What a node has told last.
    pub(super) fn of(&self, node: u64) -> Option<&Told> {
        self.parts.get(&node)
    }

    /// The nodes by which somebody is in the room, and the number of the last word of each.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.parts.iter().map(|(node, told)| (*node, told.number))
    }

    /// All together. A user of several nodes counts once, where they list it.
    pub(super) fn members(&self, listed: usize) -> Members {
        let users: BTreeSet<&str> =
            self.parts.values().flat_map(|told| told.users.iter().map(String::as_str)).collect();
        let all = self.parts.values().map(|told| told.count.max(told.users.len()));
        let all = all.fold(0, usize::saturating_add);
        let named: usize = self.parts.values().map(|told| told.users.len()).sum();
        let count = (all - named).saturating_add(users.len());
        Members { count, users: users.into_iter().take(listed).map(str::to_owned).collect() }
    }
}

impl Told {
    fn is_whole(&self) -> bool {
        self.users.len() == self.count
    }

    fn has(&self, user: &str) -> bool {
        self.users.binary_search_by(|listed| listed.as_str().cmp(user)).is_ok()
    }

    /// Whether it has told just this.
    pub(super) fn says(&self, count: usize, users: &[String]) -> bool {
        (self.count, &*self.users) == (count, users)
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    fn here(node: u64, number: u64, users: &[&str]) -> Word {
        let users: Vec<_> = users.iter().map(|user| (*user).to_owned()).collect();
        Word::Here { node, number, count: users.len(), users }
    }

    fn users(fold: &Fold) -> Vec<String> {
        fold.members(100).users
    }

    #[test]
    fn a_user_of_two_nodes_counts_once_and_leaves_with_the_last() {
        let mut fold = Fold::default();
        assert!(fold.take(here(1, 1, &["ann", "bob"]), 1).is_empty());
        assert!(fold.take(here(2, 1, &["ann"]), 2).is_empty());
        assert_eq!(fold.members(100), Members { count: 2, users: vec!["ann".into(), "bob".into()] });
        assert_eq!(fold.take(here(1, 2, &[]), 1), ["bob"]);
        assert_eq!(fold.take(here(2, 2, &[]), 1), [""; 0], "another node's doing");
        assert!(users(&fold).is_empty());
    }

    #[test]
    fn what_is_older_or_about_what_is_older_changes_nothing() {
        let mut fold = Fold::default();
        fold.take(here(1, 5, &["ann"]), 9);
        fold.take(here(1, 4, &["bob"]), 9);
        assert!(fold.take(Word::Gone { node: 1, number: 4, by: 9 }, 9).is_empty());
        assert_eq!(users(&fold), ["ann"]);
        assert_eq!(fold.take(Word::Gone { node: 1, number: 5, by: 9 }, 9), ["ann"]);
        assert!(fold.take(Word::Gone { node: 1, number: 5, by: 9 }, 9).is_empty(), "it is done");
        fold.take(here(1, 6, &["ann"]), 9);
        assert_eq!(users(&fold), ["ann"], "one that was cut off is there again");
    }

    #[test]
    fn beyond_the_list_users_are_counted() {
        let mut fold = Fold::default();
        fold.take(
            Word::Here { node: 1, number: 1, count: 1_000, users: vec!["ann".into(), "bob".into()] },
            1,
        );
        fold.take(Word::Here { node: 2, number: 1, count: 3, users: vec!["bob".into(), "cid".into()] }, 2);
        assert_eq!(fold.members(2), Members { count: 1_002, users: vec!["ann".into(), "bob".into()] });
        let left = fold.take(here(2, 2, &[]), 2);
        assert!(left.is_empty(), "bob may be among those who are not listed");
    }
}
