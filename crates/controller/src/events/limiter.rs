//! Rate limit of the Events of each resource.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use emcee_core::translate::Unit;

/// Number of Events that a resource may have at once.
const BURST: u32 = 6;
/// Time until a resource may have one more Event.
const REFILL_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of tracked resources. Above it, all are forgotten: by then each has been quiet for long, or
/// floods.
const MAX_TRACKED: usize = 10_000;

/// Limits the Events of each resource with a token bucket.
#[derive(Debug, Default)]
pub(super) struct EventRateLimiter {
    /// Events that a resource has left, and since when.
    budgets: HashMap<Unit, (u32, Instant)>,
}

impl EventRateLimiter {
    /// Takes one Event from the budget of a resource. Returns false if none is left.
    pub(super) fn try_acquire(&mut self, unit: &Unit, now: Instant) -> bool {
        // Bounds the memory, whatever number of resources a user creates.
        if self.budgets.len() >= MAX_TRACKED && !self.budgets.contains_key(unit) {
            self.budgets.clear();
        }
        let (left, since) = self.budgets.entry(unit.clone()).or_insert((BURST, now));
        let refills = now.duration_since(*since).as_secs() / REFILL_INTERVAL.as_secs();
        let refills = u32::try_from(refills).unwrap_or(BURST);
        if refills > 0 {
            (*left, *since) = (left.saturating_add(refills).min(BURST), now);
        }
        let admitted = *left > 0;
        *left = left.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emcee_core::key::ObjectKey;

    #[test]
    fn a_flapping_resource_has_six_events_and_then_one_a_minute() {
        let (mut limiter, start) = (EventRateLimiter::default(), Instant::now());
        let flapping = Unit::ServiceBinding(ObjectKey::new("shop", "flapping"));
        let allowed = (0..100).filter(|_| limiter.try_acquire(&flapping, start)).count();
        assert_eq!(allowed, 6);
        let other = Unit::ServiceBinding(ObjectKey::new("shop", "other"));
        assert!(limiter.try_acquire(&other, start), "another resource is heard all the same");
        let later = start + REFILL_INTERVAL;
        assert!(limiter.try_acquire(&flapping, later));
        assert!(!limiter.try_acquire(&flapping, later));
    }

    #[test]
    fn many_resources_do_not_exhaust_memory() {
        let (mut limiter, now) = (EventRateLimiter::default(), Instant::now());
        for number in 0..3 * MAX_TRACKED {
            limiter.try_acquire(&Unit::ServiceBinding(ObjectKey::new("shop", &number.to_string())), now);
        }
        assert!(limiter.budgets.len() <= MAX_TRACKED);
    }

    #[test]
    fn a_quiet_resource_saves_no_more_than_six_events() {
        let (mut limiter, start) = (EventRateLimiter::default(), Instant::now());
        let unit = Unit::ServiceBinding(ObjectKey::new("shop", "quiet"));
        let allowed = |limiter: &mut EventRateLimiter, now| {
            (0..100).filter(|_| limiter.try_acquire(&unit, now)).count()
        };
        assert_eq!(allowed(&mut limiter, start), 6);
        // Refused attempts cost nothing, so a flood does not delay the next Event.
        assert_eq!(allowed(&mut limiter, start + REFILL_INTERVAL * 2), 2);
        assert_eq!(allowed(&mut limiter, start + REFILL_INTERVAL * 60), 6);
    }

    #[test]
    fn the_budget_of_a_tracked_resource_stays_when_the_limit_is_reached() {
        let (mut limiter, now) = (EventRateLimiter::default(), Instant::now());
        let unit = |number: usize| Unit::ServiceBinding(ObjectKey::new("shop", &number.to_string()));
        for number in 0..MAX_TRACKED {
            limiter.try_acquire(&unit(number), now);
        }
        let more = (0..100).filter(|_| limiter.try_acquire(&unit(0), now)).count();
        assert_eq!(more, 5, "its first Event counts");
    }
}
