//! Giving back what a crowd has left behind: maps and lists keep the place of all that were ever in them.

/// How many places to shrink to, if there are more than four times as many as are taken and than are `kept` in any case.
/// With half of them vacant then, it takes many to come or go before memory is asked for again.
pub(crate) fn surplus(capacity: usize, len: usize, kept: usize) -> Option<usize> {
    (capacity > kept.max(4 * len)).then_some(2 * len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mostly_vacant_shrinks_to_twice_of_what_is_there() {
        assert_eq!(surplus(64, 0, 64), None);
        assert_eq!(surplus(65, 0, 64), Some(0));
        assert_eq!(surplus(400, 100, 64), None);
        assert_eq!(surplus(401, 100, 64), Some(200));
    }
}
