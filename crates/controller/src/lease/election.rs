//! Leader election without I/O: decides what to do from the observed Lease and the time.

use std::time::Duration;
use tokio::time::Instant;

/// Time after which a Lease that is not renewed expires.
pub(super) const TERM: Duration = Duration::from_secs(15);
/// Time after which a holder that could not renew stops leading, well before another replica may start.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// The Lease, as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Resource version. A new one shows that the holder is alive.
    pub(super) version: String,
    /// Identity of the holder; `None` if the Lease was released.
    pub(super) holder: Option<String>,
    /// Time after which the Lease expires if it is not renewed.
    pub(super) term: Duration,
}

/// Next action of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease: create it.
    Create,
    /// The Lease has no holder, or has expired: acquire it.
    Take,
    /// This replica holds the Lease: renew it.
    Renew,
    /// Another replica holds the Lease: wait.
    Wait,
}

/// State of one candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// The last observed Lease, and when its version was first observed. Clocks of other replicas are not
    /// used.
    last: Option<(Seen, Instant)>,
    /// Start of the last successful write.
    renewed: Option<Instant>,
}

impl Election {
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), last: None, renewed: None }
    }

    /// Returns the next action for the observed Lease.
    pub(super) fn step(&mut self, lease: Option<&Seen>, now: Instant) -> Step {
        let Some(lease) = lease else { return self.step_without(now) };
        // The time counts from the first observation of a version, so clocks need not agree.
        if self.last.as_ref().is_none_or(|(seen, _)| seen.version != lease.version) {
            self.last = Some((lease.clone(), now));
        }
        match &lease.holder {
            Some(holder) if *holder == self.identity => Step::Renew,
            Some(_) if self.term_runs(now) => Step::Wait,
            _ => Step::Take,
        }
    }

    /// Returns the next action if there is no Lease. A deleted Lease does not expire for its holder, which
    /// has not noticed the deletion yet.
    fn step_without(&self, now: Instant) -> Step {
        let holder = self.last.as_ref().and_then(|(seen, _)| seen.holder.as_ref());
        let is_other = holder.is_some_and(|holder| *holder != self.identity);
        if is_other && self.term_runs(now) { Step::Wait } else { Step::Create }
    }

    fn term_runs(&self, now: Instant) -> bool {
        self.last.as_ref().is_some_and(|(seen, since)| now.duration_since(*since) < seen.term)
    }

    /// Records the success of a write that started at that time.
    pub(super) fn renewed(&mut self, begun: Instant) {
        self.renewed = Some(begun);
    }

    /// Records that this replica does not lead.
    pub(super) fn lost(&mut self) {
        self.renewed = None;
    }

    /// Returns the time at which this replica stops leading without another renewal.
    pub(super) fn until(&self) -> Option<Instant> {
        self.renewed.map(|at| at + RENEW_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str, holder: Option<&str>) -> Seen {
        Seen { version: version.into(), holder: holder.map(str::to_owned), term: TERM }
    }

    #[test]
    fn a_silent_holder_is_followed_after_its_term_by_ones_own_clock() {
        let start = Instant::now();
        let mut second = Election::new("b");
        assert_eq!(second.step(Some(&seen("1", Some("a"))), start), Step::Wait);
        let later = start + TERM.saturating_sub(Duration::from_millis(1));
        assert_eq!(second.step(Some(&seen("1", Some("a"))), later), Step::Wait);
        assert_eq!(second.step(Some(&seen("2", Some("a"))), later), Step::Wait, "it is alive");
        assert_eq!(second.step(Some(&seen("2", Some("a"))), start + TERM), Step::Wait);
        assert_eq!(second.step(Some(&seen("2", Some("a"))), later + TERM), Step::Take);
    }

    #[test]
    fn what_was_given_back_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(Election::new("b").step(Some(&seen("1", None)), now), Step::Take);
        assert_eq!(Election::new("b").step(None, now), Step::Create);
        assert_eq!(Election::new("b").step(Some(&seen("1", Some("b"))), now), Step::Renew);
    }

    #[test]
    fn a_holder_stops_before_another_begins() {
        let start = Instant::now();
        let mut first = Election::new("a");
        first.renewed(start);
        // The other replica observes the write no earlier than it was made.
        let mut second = Election::new("b");
        second.step(Some(&seen("1", Some("a"))), start);
        let ends = first.until().expect("it leads");
        assert_eq!(second.step(Some(&seen("1", Some("a"))), ends), Step::Wait);
        first.lost();
        assert_eq!(first.until(), None);
    }
}
