//! A sequence that nobody guesses and no scan hits.

use knock_core::knock::Protocol;
use knock_core::sequence::Step;

use crate::failure::Failure;
use crate::random::below;

/// Draws `count` of the ports in `pool`, no two alike, mixed of TCP and UDP and not in order. Among all such sequences
/// none is likelier than another.
///
/// # Errors
/// Where the pool is too small, and what `draw` says.
pub(super) fn draw(
    count: usize,
    pool: &[u16],
    draw: &mut impl FnMut() -> Result<u32, Failure>,
) -> Result<Vec<Step>, Failure> {
    if pool.len() < count {
        let found = format!("only {} ports of this machine are free, {count} are wanted", pool.len());
        return Err(Failure::Refused(found));
    }
    loop {
        let steps = steps(count, pool.to_vec(), draw)?;
        if is_mixed(&steps) && !is_in_order(&steps) {
            return Ok(steps);
        }
    }
}

fn steps(
    count: usize,
    mut pool: Vec<u16>,
    draw: &mut impl FnMut() -> Result<u32, Failure>,
) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::with_capacity(count);
    while steps.len() < count {
        let at = below(u32::try_from(pool.len()).unwrap_or(u32::MAX), draw)?;
        let port = pool.swap_remove(at as usize);
        let protocol = if below(2, draw)? == 0 { Protocol::Tcp } else { Protocol::Udp };
        steps.push(Step { port, protocol });
    }
    Ok(steps)
}

fn is_mixed(steps: &[Step]) -> bool {
    let has = |protocol| steps.iter().any(|step| step.protocol == protocol);
    has(Protocol::Tcp) && has(Protocol::Udp)
}

/// Whether a scan of all ports, up or down, meets these in their order.
fn is_in_order(steps: &[Step]) -> bool {
    steps.is_sorted_by_key(|step| step.port) || steps.iter().rev().is_sorted_by_key(|step| step.port)
}

/// A step as the configuration and the client take it: TCP is not said.
pub(super) fn written(step: &Step) -> String {
    match step.protocol {
        Protocol::Tcp => step.port.to_string(),
        Protocol::Udp => format!("{}:udp", step.port),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::random::number;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_drawn_is_mixed_distinct_and_out_of_order(
            pool in proptest::collection::btree_set(1..=u16::MAX, 4..200),
            count in 4..=32_usize,
        ) {
            let pool: Vec<u16> = pool.into_iter().collect();
            let drawn = draw(count, &pool, &mut number);
            prop_assert_eq!(drawn.is_ok(), pool.len() >= count);
            let steps = drawn.unwrap_or_default();
            let ports: BTreeSet<u16> = steps.iter().map(|step| step.port).collect();
            prop_assert_eq!(ports.len(), steps.len());
            prop_assert!(ports.iter().all(|port| pool.contains(port)));
            if !steps.is_empty() {
                prop_assert!(is_mixed(&steps));
                prop_assert!(steps.windows(2).any(|two| two[0].port < two[1].port));
                prop_assert!(steps.windows(2).any(|two| two[0].port > two[1].port));
            }
        }
    }

    /// Every good sequence of four ports out of four comes, and none much more often than another.
    #[test]
    fn none_is_likelier_than_another() {
        const ROUNDS: usize = 22 * 14 * 100;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let steps = draw(4, &[1, 2, 3, 4], &mut number).unwrap();
            *counts.entry(steps.iter().map(written).collect::<Vec<_>>().join(",")).or_default() += 1;
        }
        // 24 orders but two, 16 mixtures but two.
        assert_eq!(counts.len(), 22 * 14);
        // A hundred each, with a standard deviation of ten: by chance this fails once in a billion runs.
        assert!(counts.values().all(|count| (30..=180).contains(count)), "{counts:?}");
    }
}
