//! Which endpoint the next attempt goes to: tiers by priority, backends of a tier by weight.

use parking_lot::Mutex;

/// One backend of a tier as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its share of the tier; 0 takes nothing.
    pub(super) weight: u32,
    /// How many endpoints it has; each is tried once per request.
    pub(super) endpoints: usize,
}

/// The tiers of one server, and whose turn it is in each.
pub(super) struct Selector {
    tiers: Vec<TierState>,
}

struct TierState {
    candidates: Vec<Candidate>,
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
    pub(super) fn new(tiers: Vec<Vec<Candidate>>) -> Self {
        let tiers =
            tiers.into_iter().map(|candidates| TierState { credit: Mutex::new(vec![0; candidates.len()]), candidates });
        Self { tiers: tiers.collect() }
    }

    /// Chooses for the next of `attempts` attempts, and notes it; `None` when nothing is left to try.
    ///
    /// A tier is left when all of it was tried, or when the attempts that remain are needed to try each lower tier once:
    /// many dead primaries must not use up the attempts that the backup needs.
    pub(super) fn next(&self, tried: &mut Tried, attempts: usize) -> Option<(usize, usize)> {
        let remaining = attempts.checked_sub(tried.len()).filter(|left| *left > 0)?;
        let first = tried.0.last().map_or(0, |(tier, _)| *tier);
        for tier in first..self.tiers.len() {
            let below = self.tiers[tier + 1..].iter().filter(|tier| tier.is_usable()).count();
            let visited = tried.0.iter().any(|(visited, _)| *visited == tier);
            if visited && remaining <= below {
                continue;
            }
            if let Some(backend) = self.tiers[tier].choose(|backend| tried.count(tier, backend)) {
                tried.0.push((tier, backend));
                return Some((tier, backend));
            }
        }
        None
    }
}

impl TierState {
    fn is_usable(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.weight > 0 && candidate.endpoints > 0)
    }

    /// Chooses by weight among the backends that were tried the fewest times and have an endpoint left.
    fn choose(&self, tried: impl Fn(usize) -> usize) -> Option<usize> {
        if let [Candidate { weight: 1.., endpoints }] = self.candidates[..] {
            return (tried(0) < endpoints).then_some(0);
        }
        let left = |index: &usize| {
            let candidate = self.candidates[*index];
            candidate.weight > 0 && tried(*index) < candidate.endpoints
        };
        let fewest = (0..self.candidates.len()).filter(left).map(&tried).min()?;
        let eligible = || (0..self.candidates.len()).filter(left).filter(|index| tried(*index) == fewest);
        let mut credit = self.credit.lock();
        let mut sum = 0;
        for index in eligible() {
            let weight = i64::from(self.candidates[index].weight);
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

    fn selector(tiers: &[&[(u32, usize)]]) -> Selector {
        let candidate = |&(weight, endpoints): &(u32, usize)| Candidate { weight, endpoints };
        Selector::new(tiers.iter().map(|tier| tier.iter().map(candidate).collect()).collect())
    }

    /// All choices for one request of which every attempt fails.
    fn failing(selector: &Selector, attempts: usize) -> Vec<(usize, usize)> {
        let mut tried = Tried::default();
        while selector.next(&mut tried, attempts).is_some() {}
        tried.0
    }

    #[test]
    fn weights_are_exact_over_a_round_and_spread_within_it() {
        let selector = selector(&[&[(5, 1), (1, 1), (1, 1)]]);
        let chosen: Vec<usize> =
            (0..7).map(|_| selector.next(&mut Tried::default(), 1).map(|(_, backend)| backend).unwrap()).collect();
        assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn weight_zero_takes_nothing_even_when_all_others_failed() {
        let selector = selector(&[&[(0, 1), (1, 1)]]);
        assert_eq!(failing(&selector, 5), [(0, 1)]);
    }

    #[test]
    fn other_backends_come_before_other_endpoints_and_lower_tiers_last() {
        let selector = selector(&[&[(1, 2), (1, 1)], &[(1, 1)]]);
        assert_eq!(failing(&selector, 9), [(0, 0), (0, 1), (0, 0), (1, 0)]);
    }

    #[test]
    fn attempts_are_saved_for_every_lower_tier() {
        let selector = selector(&[&[(1, 9)], &[(1, 9)], &[(1, 9)]]);
        assert_eq!(failing(&selector, 4), [(0, 0), (0, 0), (1, 0), (2, 0)]);
        assert_eq!(failing(&selector, 2), [(0, 0), (1, 0)]);
        assert_eq!(failing(&selector, 1), [(0, 0)]);
    }

    #[test]
    fn a_tier_without_endpoints_is_passed_over() {
        let selector = selector(&[&[(1, 0)], &[(1, 1)]]);
        assert_eq!(failing(&selector, 3), [(1, 0)]);
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
                let (_, backend) = selector.next(&mut Tried::default(), 1).unwrap();
                counts[backend] += 1;
            }
            prop_assert_eq!(counts, weights);
        }
    }
}
