//! Which endpoint the next attempt goes to: tiers by priority, backends of a tier by weight.

use parking_lot::Mutex;

/// The tiers of one server, and whose turn it is in each.
pub(super) struct Selector {
    tiers: Vec<TierState>,
}

struct TierState {
    /// Each backend's share of the tier; 0 takes nothing.
    weights: Vec<u32>,
    /// Smooth weighted round robin, as in nginx: every choice adds each weight to its credit, and the chosen one pays the
    /// sum. Shares are exact over every full round, and heavy backends are spread rather than bunched.
    credit: Mutex<Vec<i64>>,
}

/// Who was tried for one request, as (tier, backend) in order.
#[derive(Debug, Default)]
pub(super) struct Tried(Vec<(usize, usize)>);

impl Tried {
    fn count(&self, tier: usize, backend: usize) -> usize {
        self.0.iter().filter(|tried| **tried == (tier, backend)).count()
    }

    /// Attempts so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Selector {
    /// Tiers of backends by their weights.
    pub(super) fn new(tiers: Vec<Vec<u32>>) -> Self {
        let tiers = tiers.into_iter().map(|weights| TierState { credit: Mutex::new(vec![0; weights.len()]), weights });
        Self { tiers: tiers.collect() }
    }

    /// The weights of one tier.
    pub(super) fn weights(&self, tier: usize) -> &[u32] {
        &self.tiers[tier].weights
    }

    /// Chooses for the next of `attempts` attempts, and notes it; `None` when nothing is left to try. `endpoints` says how many
    /// a backend has, by tier and position; each is tried once per request.
    ///
    /// A tier is left when all of it was tried, or when the attempts that remain are needed to try each lower tier once:
    /// many dead primaries must not use up the attempts that the backup needs.
    pub(super) fn next(
        &self,
        tried: &mut Tried,
        attempts: usize,
        endpoints: impl Fn(usize, usize) -> usize,
    ) -> Option<(usize, usize)> {
        let remaining = attempts.checked_sub(tried.len()).filter(|left| *left > 0)?;
        let first = tried.0.last().map_or(0, |(tier, _)| *tier);
        let is_usable = |tier: usize| {
            let weights = self.tiers[tier].weights.iter().enumerate();
            weights.filter(|(_, weight)| **weight > 0).any(|(backend, _)| endpoints(tier, backend) > 0)
        };
        for tier in first..self.tiers.len() {
            let visited = tried.0.iter().any(|(visited, _)| *visited == tier);
            if visited && remaining <= (tier + 1..self.tiers.len()).filter(|below| is_usable(*below)).count() {
                continue;
            }
            let tried_before = |backend| tried.count(tier, backend);
            if let Some(backend) = self.tiers[tier].choose(tried_before, |backend| endpoints(tier, backend)) {
                tried.0.push((tier, backend));
                return Some((tier, backend));
            }
        }
        None
    }
}

impl TierState {
    /// Chooses by weight among the backends that were tried the fewest times and have an endpoint left.
    fn choose(&self, tried: impl Fn(usize) -> usize, endpoints: impl Fn(usize) -> usize) -> Option<usize> {
        if let [1..=u32::MAX] = self.weights[..] {
            return (tried(0) < endpoints(0)).then_some(0);
        }
        let left = |index: &usize| self.weights[*index] > 0 && tried(*index) < endpoints(*index);
        let left: Vec<usize> = (0..self.weights.len()).filter(left).collect();
        let fewest = left.iter().copied().map(&tried).min()?;
        let eligible = || left.iter().copied().filter(|index| tried(*index) == fewest);
        let mut credit = self.credit.lock();
        let mut sum = 0;
        for index in eligible() {
            let weight = i64::from(self.weights[index]);
            credit[index] += weight;
            sum += weight;
        }
        // Of equals the first: the order of the snapshot is the order of the user.
        let chosen = eligible().max_by_key(|index| (credit[*index], std::cmp::Reverse(*index)))?;
        credit[chosen] -= sum;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Backends as (weight, endpoints).
    type Tiers<'a> = &'a [&'a [(u32, usize)]];

    fn selector(tiers: Tiers<'_>) -> Selector {
        Selector::new(tiers.iter().map(|tier| tier.iter().map(|(weight, _)| *weight).collect()).collect())
    }

    /// All choices for one request of which every attempt fails.
    fn failing(tiers: Tiers<'_>, attempts: usize) -> Vec<(usize, usize)> {
        let (selector, mut tried) = (selector(tiers), Tried::default());
        while selector.next(&mut tried, attempts, |tier, backend| tiers[tier][backend].1).is_some() {}
        tried.0
    }

    fn first(selector: &Selector) -> usize {
        selector.next(&mut Tried::default(), 1, |_, _| 1).unwrap().1
    }

    #[test]
    fn weights_are_exact_over_a_round_and_spread_within_it() {
        let selector = selector(&[&[(5, 1), (1, 1), (1, 1)]]);
        let chosen: Vec<usize> = (0..7).map(|_| first(&selector)).collect();
        assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn weight_zero_takes_nothing_even_when_all_others_failed() {
        assert_eq!(failing(&[&[(0, 1), (1, 1)]], 5), [(0, 1)]);
    }

    #[test]
    fn other_backends_come_before_other_endpoints_and_lower_tiers_last() {
        assert_eq!(failing(&[&[(1, 2), (1, 1)], &[(1, 1)]], 9), [(0, 0), (0, 1), (0, 0), (1, 0)]);
    }

    #[test]
    fn attempts_are_saved_for_every_lower_tier() {
        let tiers: Tiers<'_> = &[&[(1, 9)], &[(1, 9)], &[(1, 9)]];
        assert_eq!(failing(tiers, 4), [(0, 0), (0, 0), (1, 0), (2, 0)]);
        assert_eq!(failing(tiers, 2), [(0, 0), (1, 0)]);
        assert_eq!(failing(tiers, 1), [(0, 0)]);
    }

    #[test]
    fn a_tier_without_endpoints_is_passed_over() {
        assert_eq!(failing(&[&[(1, 0)], &[(1, 1)]], 3), [(1, 0)]);
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(0u32..50, 1..6)) {
            let sum: u32 = weights.iter().sum();
            prop_assume!(sum > 0);
            let tier: Vec<_> = weights.iter().map(|weight| (*weight, 1)).collect();
            let selector = selector(&[&tier]);
            let mut counts = vec![0; weights.len()];
            for _ in 0..sum {
                counts[first(&selector)] += 1;
            }
            prop_assert_eq!(counts, weights);
        }
    }
}
