//! Who leads, without I/O: from what is seen of the Lease, and when, to what to do.

use std::time::Duration;
use tokio::time::Instant;

/// How long a holder that is not heard of keeps the Lease.
pub(super) const TERM: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long stops leading, well before another may begin.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// The Lease, as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its resource version: another one is a sign of life of whoever holds it.
    pub(super) version: String,
    /// Who holds it; nobody: it was given back.
    pub(super) holder: Option<String>,
    /// For how long it is held without a sign of life.
    pub(super) term: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease: make it.
    Create,
    /// Nobody holds it, or nobody who lives: take it.
    Take,
    /// It is ours: say so again.
    Renew,
    /// Somebody else has it.
    Wait,
}

/// One candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// What was seen last, and when that version was first seen. Clocks of others are not asked.
    last: Option<(Seen, Instant)>,
    /// When the last write that succeeded was begun.
    renewed: Option<Instant>,
}

impl Election {
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), last: None, renewed: None }
    }

    /// What to do about the Lease as it was seen.
    pub(super) fn step(&mut self, lease: Option<&Seen>, now: Instant) -> Step {
        let Some(lease) = lease else { return self.step_without(now) };
        if self.last.as_ref().is_none_or(|(seen, _)| seen.version != lease.version) {
            self.last = Some((lease.clone(), now));
        }
        match &lease.holder {
            Some(holder) if *holder == self.identity => Step::Renew,
            Some(_) if self.term_runs(now) => Step::Wait,
            _ => Step::Take,
        }
    }

    /// A Lease that was deleted does not end the term of who held it: that one has not heard of it yet.
    fn step_without(&self, now: Instant) -> Step {
        let holder = self.last.as_ref().and_then(|(seen, _)| seen.holder.as_ref());
        let is_other = holder.is_some_and(|holder| *holder != self.identity);
        if is_other && self.term_runs(now) { Step::Wait } else { Step::Create }
    }

    fn term_runs(&self, now: Instant) -> bool {
        self.last.as_ref().is_some_and(|(seen, since)| now.duration_since(*since) < seen.term)
    }

    /// A write that was begun at that time has succeeded.
    pub(super) fn renewed(&mut self, begun: Instant) {
        self.renewed = Some(begun);
    }

    /// Somebody else has it.
    pub(super) fn lost(&mut self) {
        self.renewed = None;
    }

    /// Until when this candidate leads, if nothing more is heard from the API server.
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
        assert_eq!(second.step(Some(&seen("2", Some("a"))), later), Step::Wait, "it lives");
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
        // The other sees the write at the earliest when it was made.
        let mut second = Election::new("b");
        second.step(Some(&seen("1", Some("a"))), start);
        let ends = first.until().expect("it leads");
        assert_eq!(second.step(Some(&seen("1", Some("a"))), ends), Step::Wait);
        first.lost();
        assert_eq!(first.until(), None);
    }
}
