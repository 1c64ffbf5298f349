//! Rate limit of the Events of each resource.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use emcee_core::translate::Unit;

/// Number of Events that a resource may have at once.
const BURST: u32 = 6;
/// Time until a resource may have one more Event.
const REFILL: Duration = Duration::from_mins(1);
/// Maximum number of tracked resources. Above it, all are forgotten: by then each has been quiet for long, or
/// floods.
const REMEMBERED: usize = 10_000;

/// Limits the Events of each resource with a token bucket.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// Events that a resource has left, and since when.
    left: HashMap<Unit, (u32, Instant)>,
}

impl Limiter {
    /// Takes one Event from the budget of a resource. Returns false if none is left.
    pub(super) fn admits(&mut self, unit: &Unit, now: Instant) -> bool {
        // Bounds the memory, whatever number of resources a user creates.
        if self.left.len() >= REMEMBERED && !self.left.contains_key(unit) {
            self.left.clear();
        }
        let (left, since) = self.left.entry(unit.clone()).or_insert((BURST, now));
        let refills = now.duration_since(*since).as_secs() / REFILL.as_secs();
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
    fn a_flapping_resource_is_heard_six_times_and_then_once_a_minute() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let flapping = Unit::ServiceBinding(ObjectKey::new("shop", "flapping"));
        let heard = (0..100).filter(|_| limiter.admits(&flapping, start)).count();
        assert_eq!(heard, 6);
        let other = Unit::ServiceBinding(ObjectKey::new("shop", "other"));
        assert!(limiter.admits(&other, start), "another resource is heard all the same");
        let later = start + REFILL;
        assert!(limiter.admits(&flapping, later));
        assert!(!limiter.admits(&flapping, later));
    }

    #[test]
    fn many_resources_do_not_fill_the_memory() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for number in 0..3 * REMEMBERED {
            limiter.admits(&Unit::ServiceBinding(ObjectKey::new("shop", &number.to_string())), now);
        }
        assert!(limiter.left.len() <= REMEMBERED);
    }
}
