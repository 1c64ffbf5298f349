//! Order of the writes of one batch.

use std::cmp::Reverse;

use emcee_core::plan::GeneratedKind;

use crate::object::OwnerClass;

/// Position of a write within its batch. Writes of the same position start together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ApplyOrder {
    /// Finalizers come before the objects that need them.
    Finalizer,
    /// Creations and updates: an object comes after what it refers to.
    Apply(OwnerClass, GeneratedKind),
    /// Removals come last, in reverse: an object goes before what it refers to.
    Remove(Reverse<(OwnerClass, GeneratedKind)>),
}

impl ApplyOrder {
    /// Returns the position of a removal.
    pub(crate) fn remove(class: OwnerClass, kind: GeneratedKind) -> Self {
        Self::Remove(Reverse((class, kind)))
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
            let removed = GeneratedKind::ALL.map(|kind| ApplyOrder::remove(class, kind));
            assert!(removed.is_sorted_by(|before, after| before > after), "{class:?}");
        }
        let order = |kind| ApplyOrder::Apply(OwnerClass::Facade, kind);
        assert!(order(GeneratedKind::Service) < order(GeneratedKind::VirtualService));
        assert!(order(GeneratedKind::NetworkPolicy) < order(GeneratedKind::Deployment));
    }
}
