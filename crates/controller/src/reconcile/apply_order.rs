//! Order of the writes of one batch.

use std::cmp::Reverse;
use std::time::Duration;

use emcee_core::plan::GeneratedKind;

use super::queue::BatchPhase;
use crate::object::OwnerClass;

/// How long a batch pauses before it changes the routes of a facade, so that sidecars know the new destination before
/// they use it. istiod collects changes for 0.1 s, then tells the sidecars.
const PAUSE_BEFORE_REDIRECT: Duration = Duration::from_secs(3);
/// How long a batch pauses before it removes hosts that sidecars called until then. istiod collects changes for at most
/// 10 s if there are always new ones.
const PAUSE_BEFORE_REMOVAL: Duration = Duration::from_secs(12);

/// Position of a write within its batch. Writes of the same position start together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ApplyOrder {
    /// Finalizers come before the objects that need them.
    Finalizer,
    /// Creations and updates: an object comes after what it refers to.
    Apply(OwnerClass, GeneratedKind),
    /// Updates of a facade's routes come after everything that they may newly refer to.
    Redirect,
    /// Removals come last, in reverse: an object goes before what it refers to.
    Remove(Reverse<(OwnerClass, GeneratedKind)>),
}

impl ApplyOrder {
    /// Returns the position of a removal.
    pub(crate) fn remove(class: OwnerClass, kind: GeneratedKind) -> Self {
        Self::Remove(Reverse((class.of_object(kind), kind)))
    }

    /// Returns the position of a creation.
    pub(crate) fn create(class: OwnerClass, kind: GeneratedKind) -> Self {
        Self::Apply(class.of_object(kind), kind)
    }

    /// Returns the position of an update of an object that exists.
    pub(crate) fn update(class: OwnerClass, kind: GeneratedKind) -> Self {
        match (class, kind) {
            (OwnerClass::Facade, GeneratedKind::VirtualService) => Self::Redirect,
            _ => Self::create(class, kind),
        }
    }

    /// Reports whether it is the removal of a host that a facade may have had routes to.
    fn removes_destination(self) -> bool {
        let Self::Remove(Reverse((class, kind))) = self else { return false };
        matches!(class, OwnerClass::Relay | OwnerClass::Service)
            && matches!(kind, GeneratedKind::ServiceEntry | GeneratedKind::DestinationRule)
    }
}

/// A sidecar that gets the new route of a facade before its destination, or loses the old destination before the old
/// route, answers 503. No sidecar reports what it has, so time has to do.
impl BatchPhase for ApplyOrder {
    fn is_redirect(self) -> bool {
        self == Self::Redirect
    }

    fn pause_after(self, previous: Self, redirects: bool) -> Duration {
        match (self, previous) {
            (Self::Redirect, Self::Apply(..)) => PAUSE_BEFORE_REDIRECT,
            _ if redirects && self.removes_destination() && !previous.removes_destination() => {
                PAUSE_BEFORE_REMOVAL
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_applied_after_what_they_refer_to_and_removed_before_it() {
        let (gateway, service) = (GeneratedKind::Gateway, GeneratedKind::Service);
        let order = [
            ApplyOrder::Finalizer,
            ApplyOrder::Apply(OwnerClass::Relationship, service),
            ApplyOrder::Apply(OwnerClass::Relationship, gateway),
            ApplyOrder::Apply(OwnerClass::Relay, service),
            ApplyOrder::Apply(OwnerClass::Service, service),
            ApplyOrder::Apply(OwnerClass::Facade, service),
            ApplyOrder::remove(OwnerClass::Facade, service),
            ApplyOrder::remove(OwnerClass::Service, gateway),
            ApplyOrder::remove(OwnerClass::Service, service),
            ApplyOrder::remove(OwnerClass::Relay, gateway),
            ApplyOrder::remove(OwnerClass::Relationship, gateway),
        ];
        assert!(order.is_sorted_by(|before, after| before < after));
    }

    /// Everything else is removed at once: a gateway's server may be what a user withdraws.
    #[test]
    fn only_destinations_of_changed_routes_wait() {
        let apply = ApplyOrder::Apply(OwnerClass::Service, GeneratedKind::DestinationRule);
        let remove = |kind| ApplyOrder::remove(OwnerClass::Service, kind);
        let [entry, rule] = [GeneratedKind::ServiceEntry, GeneratedKind::DestinationRule].map(remove);
        assert_eq!(ApplyOrder::Redirect.pause_after(apply, true), PAUSE_BEFORE_REDIRECT);
        assert_eq!(entry.pause_after(ApplyOrder::Redirect, true), PAUSE_BEFORE_REMOVAL);
        assert_eq!(rule.pause_after(entry, true), Duration::ZERO, "one pause is enough");
        assert_eq!(entry.pause_after(apply, false), Duration::ZERO);
        let gateway = remove(GeneratedKind::Gateway);
        assert_eq!(gateway.pause_after(ApplyOrder::Redirect, true), Duration::ZERO);
        assert!(gateway < entry && entry < rule, "the pause does not delay it");
        let rule = GeneratedKind::DestinationRule;
        let (service, routes) = (GeneratedKind::Service, GeneratedKind::VirtualService);
        let created = [service, routes, rule].map(|kind| ApplyOrder::create(OwnerClass::Facade, kind));
        assert!(created.is_sorted(), "the Service is there before the rule that turns TLS off for it");
        let removed = [rule, routes, service].map(|kind| ApplyOrder::remove(OwnerClass::Facade, kind));
        assert!(removed.is_sorted(), "{removed:?}");
        let update = ApplyOrder::update(OwnerClass::Facade, GeneratedKind::VirtualService);
        assert_eq!(update, ApplyOrder::Redirect);
    }

    /// There is one for each write that waits.
    #[test]
    fn a_position_takes_four_bytes_at_most() {
        assert!(size_of::<ApplyOrder>() <= 4);
    }

    /// Keys and policies come before what they protect, and a facade's routes are never without their Service.
    #[test]
    fn kinds_are_removed_in_the_reverse_order_of_applying() {
        for class in [OwnerClass::Relationship, OwnerClass::Relay, OwnerClass::Service, OwnerClass::Facade] {
            let applied = GeneratedKind::ALL.map(|kind| ApplyOrder::Apply(class, kind));
            assert!(applied.is_sorted_by(|before, after| before < after), "{class:?}");
            let kinds = GeneratedKind::ALL.into_iter().filter(|kind| class.of_object(*kind) == class);
            let removed: Vec<_> = kinds.map(|kind| ApplyOrder::remove(class, kind)).collect();
            assert!(removed.is_sorted_by(|before, after| before > after), "{class:?}");
        }
        let order = |kind| ApplyOrder::Apply(OwnerClass::Facade, kind);
        assert!(order(GeneratedKind::Service) < order(GeneratedKind::VirtualService));
        assert!(order(GeneratedKind::NetworkPolicy) < order(GeneratedKind::Deployment));
    }
}
