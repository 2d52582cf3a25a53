//! Sorting, and collecting in order, with little code: the standard library's own ways to them are five kilobytes of
//! machine code for each type of element, which was a tenth of the program.

use std::cmp::Ordering;
use std::mem;

/// Sorts `items`.
pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    let order = new_order(items.len(), &|one, other| items[one].cmp(&items[other]));
    put_in_order(items, order);
}

/// Sorts `items` by `key`. Those with equal keys stay in their order.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let order = new_order(items.len(), &|one, other| key(&items[one]).cmp(&key(&items[other])));
    put_in_order(items, order);
}

/// The same as [`sorted`], but none where each is in its place.
fn new_order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    if (1..count).all(|number| compare(number - 1, number).is_le()) {
        return Vec::new();
    }
    sorted(count, compare)
}

/// The numbers below `count`, in the order that `compare` says. Only this is compiled once for all types.
fn sorted(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

/// The same with only the last of the numbers that `compare` finds equal.
fn sorted_once(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order = sorted(count, compare);
    order.dedup_by(|next, last| {
        let is_same = compare(*last, *next).is_eq();
        if is_same {
            *last = *next;
        }
        is_same
    });
    order
}

/// Puts at each place of `items` the element whose number is there in `order`.
fn put_in_order<T>(items: &mut [T], mut order: Vec<usize>) {
    for start in 0..order.len() {
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

/// A map that is made once: pairs, and their numbers in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup<K, V> {
    pairs: Vec<(K, V)>,
    order: Vec<usize>,
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self { pairs: Vec::new(), order: Vec::new() }
    }
}

impl<K: Copy + Ord, V> Lookup<K, V> {
    /// What belongs to `key`.
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.first_from(key).filter(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// The first pair whose key is `key` or above.
    pub(crate) fn first_from(&self, key: K) -> Option<&(K, V)> {
        let found = first_from(&self.order, &|number| self.pairs[number].0 < key)?;
        self.pairs.get(found)
    }

    /// All pairs, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.order.iter().map(|&number| &self.pairs[number])
    }

    /// What belongs to the keys, in the order of these.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// The first number in `order` that `is_below` does not say yes to.
fn first_from(order: &[usize], is_below: &dyn Fn(usize) -> bool) -> Option<usize> {
    order.get(order.partition_point(|number| is_below(*number))).copied()
}

/// The number of the first name that was there before, and the number that it had then.
pub(crate) fn twice(names: &[&str]) -> Option<(usize, usize)> {
    let order = sorted(names.len(), &|one, other| names[one].cmp(names[other]));
    let same = order.windows(2).filter(|pair| names[pair[0]] == names[pair[1]]);
    same.map(|pair| (pair[1], pair[0])).min()
}

/// Collects elements in order.
pub(crate) trait InOrder: Iterator + Sized {
    /// Of pairs with equal keys, the last one stays.
    fn into_lookup<K: Copy + Ord, V>(self) -> Lookup<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut pairs = Vec::with_capacity(self.size_hint().0);
        self.for_each(|pair| pairs.push(pair));
        let order = sorted_once(pairs.len(), &|one, other| pairs[one].0.cmp(&pairs[other].0));
        Lookup { pairs, order }
    }

    /// Each element once.
    fn into_set(self) -> Vec<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = Vec::with_capacity(self.size_hint().0);
        self.for_each(|item| set.push(item));
        sort(&mut set);
        set.dedup();
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
        let lookup = pairs.into_iter().into_lookup();
        assert_eq!(lookup.iter().collect::<Vec<_>>(), [&(1, 'b'), &(2, 'c')]);
        assert_eq!([3, 1, 3].into_iter().into_set(), [1, 3]);
    }

    #[test]
    fn the_first_name_that_comes_again_is_found() {
        assert_eq!(twice(&["a", "c", "b", "c", "b", "c"]), Some((3, 1)));
        assert_eq!(twice(&["b", "a"]), None);
    }

    #[test]
    fn what_was_put_in_is_found() {
        let lookup = (0..100).rev().map(|number| (2 * number, number)).into_lookup();
        for number in 0..100 {
            assert_eq!((lookup.get(2 * number), lookup.get(2 * number + 1)), (Some(&number), None));
            assert_eq!(lookup.first_from(2 * number), Some(&(2 * number, number)));
        }
        assert_eq!(lookup.first_from(197), Some(&(198, 99)));
        assert_eq!(lookup.first_from(199), None);
    }
}
