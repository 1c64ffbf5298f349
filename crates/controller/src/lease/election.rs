//! Leader election without I/O: decides what to do from the observed Lease and the time.

use std::time::Duration;
use tokio::time::Instant;

/// Time after which a Lease that is not renewed expires.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Time after which a holder that could not renew stops leading, well before another replica may start.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// The Lease, as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseRecord {
    /// Resource version. A new one shows that the holder is alive.
    pub(super) version: String,
    /// Identity of the holder; `None` if the Lease was released.
    pub(super) holder: Option<String>,
    /// Time after which the Lease expires if it is not renewed.
    pub(super) duration: Duration,
}

/// Next action of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElectionAction {
    /// There is no Lease: create it.
    Create,
    /// The Lease has no holder, or has expired: acquire it.
    Acquire,
    /// This replica holds the Lease: renew it.
    Renew,
    /// Another replica holds the Lease: wait.
    Wait,
}

/// State of one candidate.
#[derive(Debug)]
pub(super) struct LeaseElection {
    identity: String,
    /// The last observed Lease, and when its version was first observed. Clocks of other replicas are not
    /// used.
    observed: Option<(LeaseRecord, Instant)>,
    /// Start of the last successful write.
    renewed_at: Option<Instant>,
}

impl LeaseElection {
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), observed: None, renewed_at: None }
    }

    /// Returns the next action for the observed Lease.
    pub(super) fn next_action(&mut self, lease: Option<&LeaseRecord>, now: Instant) -> ElectionAction {
        let Some(lease) = lease else { return self.action_without_lease(now) };
        // The time counts from the first observation of a version, so clocks need not agree.
        if self.observed.as_ref().is_none_or(|(seen, _)| seen.version != lease.version) {
            self.observed = Some((lease.clone(), now));
        }
        match &lease.holder {
            Some(holder) if *holder == self.identity => ElectionAction::Renew,
            Some(_) if self.is_lease_valid(now) => ElectionAction::Wait,
            _ => ElectionAction::Acquire,
        }
    }

    /// Returns the next action if there is no Lease. A deleted Lease does not expire for its holder, which
    /// has not noticed the deletion yet.
    fn action_without_lease(&self, now: Instant) -> ElectionAction {
        let holder = self.observed.as_ref().and_then(|(seen, _)| seen.holder.as_ref());
        let is_other = holder.is_some_and(|holder| *holder != self.identity);
        if is_other && self.is_lease_valid(now) { ElectionAction::Wait } else { ElectionAction::Create }
    }

    fn is_lease_valid(&self, now: Instant) -> bool {
        self.observed.as_ref().is_some_and(|(seen, since)| now.duration_since(*since) < seen.duration)
    }

    /// Records the success of a write that started at that time.
    pub(super) fn record_renewal(&mut self, begun: Instant) {
        self.renewed_at = Some(begun);
    }

    /// Records that this replica does not lead.
    pub(super) fn record_loss(&mut self) {
        self.renewed_at = None;
    }

    /// Returns the time at which this replica stops leading without another renewal.
    pub(super) fn renew_deadline(&self) -> Option<Instant> {
        self.renewed_at.map(|at| at + RENEW_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str, holder: Option<&str>) -> LeaseRecord {
        LeaseRecord { version: version.into(), holder: holder.map(str::to_owned), duration: LEASE_DURATION }
    }

    #[test]
    fn an_expired_lease_is_acquired_by_the_local_clock() {
        let start = Instant::now();
        let mut second = LeaseElection::new("b");
        assert_eq!(second.next_action(Some(&seen("1", Some("a"))), start), ElectionAction::Wait);
        let later = start + LEASE_DURATION.saturating_sub(Duration::from_millis(1));
        assert_eq!(second.next_action(Some(&seen("1", Some("a"))), later), ElectionAction::Wait);
        assert_eq!(
            second.next_action(Some(&seen("2", Some("a"))), later),
            ElectionAction::Wait,
            "it is alive"
        );
        assert_eq!(
            second.next_action(Some(&seen("2", Some("a"))), start + LEASE_DURATION),
            ElectionAction::Wait
        );
        assert_eq!(
            second.next_action(Some(&seen("2", Some("a"))), later + LEASE_DURATION),
            ElectionAction::Acquire
        );
    }

    #[test]
    fn a_released_lease_is_acquired_at_once() {
        let now = Instant::now();
        assert_eq!(LeaseElection::new("b").next_action(Some(&seen("1", None)), now), ElectionAction::Acquire);
        assert_eq!(LeaseElection::new("b").next_action(None, now), ElectionAction::Create);
        assert_eq!(
            LeaseElection::new("b").next_action(Some(&seen("1", Some("b"))), now),
            ElectionAction::Renew
        );
    }

    #[test]
    fn a_holder_stops_before_another_replica_starts() {
        let start = Instant::now();
        let mut first = LeaseElection::new("a");
        first.record_renewal(start);
        // The other replica observes the write no earlier than it was made.
        let mut second = LeaseElection::new("b");
        second.next_action(Some(&seen("1", Some("a"))), start);
        let ends = first.renew_deadline().expect("it leads");
        assert_eq!(second.next_action(Some(&seen("1", Some("a"))), ends), ElectionAction::Wait);
        first.record_loss();
        assert_eq!(first.renew_deadline(), None);
    }

    #[test]
    fn the_duration_of_the_observed_lease_counts() {
        let start = Instant::now();
        let mut second = LeaseElection::new("b");
        let long = LeaseRecord { duration: LEASE_DURATION * 4, ..seen("1", Some("a")) };
        assert_eq!(second.next_action(Some(&long), start), ElectionAction::Wait);
        assert_eq!(second.next_action(Some(&long), start + LEASE_DURATION * 3), ElectionAction::Wait);
        assert_eq!(second.next_action(Some(&long), start + LEASE_DURATION * 4), ElectionAction::Acquire);
    }

    #[test]
    fn a_deleted_lease_of_another_holder_is_created_after_it_would_have_expired() {
        let start = Instant::now();
        let mut second = LeaseElection::new("b");
        second.next_action(Some(&seen("1", Some("a"))), start);
        assert_eq!(second.next_action(None, start + RENEW_DEADLINE), ElectionAction::Wait);
        assert_eq!(second.next_action(None, start + LEASE_DURATION), ElectionAction::Create);
        // Its own, or one that was released, is created at once.
        for holder in [Some("b"), None] {
            let mut second = LeaseElection::new("b");
            second.next_action(Some(&seen("1", holder)), start);
            assert_eq!(second.next_action(None, start), ElectionAction::Create, "{holder:?}");
        }
    }
}
