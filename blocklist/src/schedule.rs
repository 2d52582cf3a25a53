//! The order in which rules come and go where there is no room for old and new ones together.
//!
//! A rule goes once every new one is there that it shares an address with, so that no address of both passes for a
//! moment, whatever ends meanwhile. Of rules that share addresses, one lies in the other: a new one comes before those
//! within it, and an old one goes after them. Of rules beside each other, those that free more places than they take
//! have their turn first. So there are never more rules than before or afterwards, but for those that the present one
//! lies in.

use std::ops::Range;

use ipnet::IpNet;

/// A rule that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) prefix: IpNet,
    pub(crate) is_new: bool,
    /// The number that whoever asks knows it by.
    pub(crate) number: usize,
}

/// A move among the others, which it comes before if they lie in it.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Behind the last one within it.
    end: usize,
    /// How many rules more there are once it and all within it are done.
    growth: isize,
    is_in_new: bool,
    has_new: bool,
    /// It goes, and shares no address with a new one: it may go at any time.
    is_alone: bool,
}

/// Puts moves, which are in the order of prefixes, into the one that they are to be made in.
pub(crate) fn schedule(moves: &[Move]) -> Vec<Move> {
    let nodes = nodes(moves);
    let alone = moves.iter().zip(&nodes).filter(|(_, node)| node.is_alone);
    let mut order: Vec<_> = alone.map(|(one, _)| *one).collect();
    order.reserve_exact(moves.len() - order.len());
    take(moves, &nodes, 0..moves.len(), &mut order);
    order
}

fn nodes(moves: &[Move]) -> Vec<Node> {
    let mut nodes = vec![Node::default(); moves.len()];
    // Those that the present one lies in.
    let mut around: Vec<usize> = Vec::new();
    for (at, one) in moves.iter().enumerate() {
        while let Some(&last) = around.last().filter(|&&last| !moves[last].prefix.contains(&one.prefix)) {
            around.pop();
            close(moves, &mut nodes, last, around.last().copied(), at);
        }
        if let Some(&last) = around.last() {
            nodes[at].is_in_new = moves[last].is_new || nodes[last].is_in_new;
        }
        around.push(at);
    }
    while let Some(last) = around.pop() {
        close(moves, &mut nodes, last, around.last().copied(), moves.len());
    }
    nodes
}

/// Completes a node within which are no more.
fn close(moves: &[Move], nodes: &mut [Node], at: usize, around: Option<usize>, end: usize) {
    let is_new = moves[at].is_new;
    let node = &mut nodes[at];
    node.end = end;
    node.is_alone = !is_new && !node.is_in_new && !node.has_new;
    if is_new {
        node.growth += 1;
    } else if !node.is_alone {
        node.growth -= 1;
    }
    let Node { growth, has_new, .. } = *node;
    if let Some(around) = around {
        nodes[around].growth += growth;
        nodes[around].has_new |= has_new || is_new;
    }
}

/// Takes what is in `range` and not alone: first what does not grow.
fn take(moves: &[Move], nodes: &[Node], range: Range<usize>, order: &mut Vec<Move>) {
    for grows in [false, true] {
        let mut at = range.start;
        while at < range.end {
            let (one, node) = (moves[at], nodes[at]);
            if !node.is_alone && (node.growth > 0) == grows {
                order.extend(Some(one).filter(|one| one.is_new));
                take(moves, nodes, at + 1..node.end, order);
                order.extend(Some(one).filter(|one| !one.is_new));
            }
            at = node.end;
        }
    }
}

/// The most rules that there are on the way, from `there` on.
pub(crate) fn peak(order: &[Move], there: usize) -> usize {
    let (mut count, mut peak) = (there, there);
    for one in order {
        count = if one.is_new { count + 1 } else { count - 1 };
        peak = peak.max(count);
    }
    peak
}

/// Divides an order into parts, in each of which all that is new is added before anything is taken out: as few as
/// `room` allows.
pub(crate) fn parts(order: &[Move], there: usize, room: usize) -> Vec<&[Move]> {
    let (mut parts, mut first) = (Vec::new(), 0);
    let (mut count, mut gone) = (there, 0);
    for (at, one) in order.iter().enumerate() {
        if !one.is_new {
            gone += 1;
            continue;
        }
        if count >= room && gone > 0 {
            parts.push(&order[first..at]);
            (first, count, gone) = (at, count - gone, 0);
        }
        count += 1;
    }
    parts.push(&order[first..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Moves in order: `+` before what comes, `-` before what goes.
    fn moves(texts: &[&str]) -> Vec<Move> {
        let one = |text: &&str| (text[1..].parse().unwrap(), text.starts_with('+'));
        let mut moves: Vec<(IpNet, bool)> = texts.iter().map(one).collect();
        moves.sort_unstable();
        let one = |(number, (prefix, is_new))| Move { prefix, is_new, number };
        moves.into_iter().enumerate().map(one).collect()
    }

    fn shown(order: &[Move]) -> Vec<String> {
        let one = |one: &Move| format!("{}{}", if one.is_new { '+' } else { '-' }, one.prefix);
        order.iter().map(one).collect()
    }

    #[test]
    fn a_rule_goes_when_all_that_share_its_addresses_have_come() {
        let order = schedule(&moves(&[
            "-10.0.0.0/8",
            "-10.1.0.0/16",
            "+10.1.2.0/24",
            "+10.1.3.0/24",
            "-10.2.0.0/16",
            "-10.2.3.0/24",
            "+11.0.0.0/12",
            "-11.0.0.0/16",
            "-11.0.7.0/24",
            "+12.0.0.0/8",
            "-192.0.2.0/24",
            "-192.0.2.1/32",
            "-2001:db8::/32",
            "+2001:db8:1::/48",
        ]));
        let expected = [
            // What shares no address with a new one, even if another that goes is around it.
            "-10.2.0.0/16",
            "-10.2.3.0/24",
            "-192.0.2.0/24",
            "-192.0.2.1/32",
            // What takes no more room.
            "+10.1.2.0/24",
            "+10.1.3.0/24",
            "-10.1.0.0/16",
            "-10.0.0.0/8",
            "+11.0.0.0/12",
            "-11.0.7.0/24",
            "-11.0.0.0/16",
            "+2001:db8:1::/48",
            "-2001:db8::/32",
            "+12.0.0.0/8",
        ];
        assert_eq!(shown(&order), expected);
        assert_eq!(peak(&order, 9), 9);
        assert_eq!(peak(&order[5..], 5), 6);
    }

    #[test]
    fn parts_are_as_few_as_there_is_room_for() {
        let order = schedule(&moves(&[
            "-10.0.0.0/31",
            "+10.0.0.0/32",
            "+10.0.0.1/32",
            "-10.0.0.2/31",
            "+10.0.0.2/32",
        ]));
        let lens = |room: usize| parts(&order, 2, room).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(peak(&order, 2), 4);
        assert_eq!(lens(5), [5]);
        assert_eq!(lens(4), [3, 2]);
    }

    /// Whatever the rules are, no address of both passes, and no more room is taken than they lie deep in each other.
    #[test]
    fn what_fits_in_the_end_fits_on_the_way() {
        let mut random = 1_u64;
        let mut below = |limit: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(random >> 33).unwrap() % limit
        };
        let (mut most, mut divided) = (0, 0);
        for _ in 0..500 {
            let mut picked = BTreeMap::new();
            for _ in 0..below(120) {
                let address = std::net::Ipv4Addr::from(below(64) << 26);
                let prefix = crate::layout::net(address.into(), u8::try_from(below(7)).unwrap());
                picked.insert(prefix, below(3) == 0);
            }
            let one = |(number, (&prefix, &is_new))| Move { prefix, is_new, number };
            let moves: Vec<_> = picked.iter().enumerate().map(one).collect();
            let order = schedule(&moves);
            let mut sorted = order.clone();
            sorted.sort_unstable_by_key(|one| one.number);
            assert_eq!(sorted, moves);

            let old = moves.iter().filter(|one| !one.is_new).count();
            let peak = peak(&order, old);
            let most_of_both = old.max(moves.len() - old);
            assert!(peak <= most_of_both + 6, "{peak} of {:?}", shown(&order));
            most = most.max(peak - most_of_both);
            let (mut there, mut come) = (old, Vec::new());
            let parts = parts(&order, old, peak);
            divided += usize::from(parts.len() > 1);
            for part in parts {
                come.extend(part.iter().filter(|one| one.is_new).map(|one| one.prefix));
                assert!(there + come.len() <= peak, "{part:?}");
                for gone in part.iter().filter(|one| !one.is_new) {
                    there -= 1;
                    let shares =
                        |new: &&Move| new.prefix.contains(&gone.prefix) || gone.prefix.contains(&new.prefix);
                    let mut new = moves.iter().filter(|one| one.is_new).filter(shares);
                    assert!(new.all(|new| come.contains(&new.prefix)), "{gone:?} in {:?}", shown(&order));
                }
            }
            assert_eq!(there, 0);
        }
        assert!(most > 1 && divided > 100, "{most}, {divided}");
    }
}
