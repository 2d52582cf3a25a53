//! Sorting, and collecting in order, with little code: the standard library's own ways to them are five kilobytes of
//! machine code for each type of element, which was a tenth of the program.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// Sorts `items`.
pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    let order = sorted(items.len(), &|one, other| items[one].cmp(&items[other]));
    put_in_order(items, order);
}

/// Sorts `items` by `key`. Those with equal keys stay in their order.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let order = sorted(items.len(), &|one, other| key(&items[one]).cmp(&key(&items[other])));
    put_in_order(items, order);
}

/// The numbers below `count`, in the order that `compare` says. Only this is compiled once for all types.
fn sorted(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

/// Puts at each place of `items` the element whose number is there in `order`.
fn put_in_order<T>(items: &mut [T], mut order: Vec<usize>) {
    for start in 0..items.len() {
        // Elements that wait for each other's places form a circle, and one that starts where it ends is done.
        let mut place = start;
        loop {
            let next = mem::replace(&mut order[place], place);
            if next == start {
                break;
            }
            items.swap(place, next);
            place = next;
        }
    }
}

/// Puts elements one by one where they belong; `collect()` would sort them first.
pub(crate) trait InOrder: Iterator + Sized {
    /// Of pairs with equal keys, the last one stays.
    fn into_map<K: Ord, V>(self) -> BTreeMap<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut map = BTreeMap::new();
        map.extend(self);
        map
    }

    /// Each element once.
    fn into_set(self) -> BTreeSet<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = BTreeSet::new();
        set.extend(self);
        set
    }
}

impl<I: Iterator> InOrder for I {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut seed = 1_u32;
        for count in 0..200 {
            let mut ours: Vec<(u32, usize)> = (0..count)
                .map(|index| {
                    seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
                    (seed >> 16 & 0x1f, index)
                })
                .collect();
            let mut theirs = ours.clone();
            sort_by_key(&mut ours, |(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            assert_eq!(ours, theirs);
            sort_by_key(&mut ours, |(_, index)| *index);
            sort(&mut ours);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn the_last_of_equal_keys_stays() {
        let pairs = [(2, 'a'), (1, 'b'), (2, 'c')];
        assert_eq!(pairs.into_iter().into_map(), BTreeMap::from([(1, 'b'), (2, 'c')]));
        assert_eq!([3, 1, 3].into_iter().into_set(), BTreeSet::from([1, 3]));
    }
}
