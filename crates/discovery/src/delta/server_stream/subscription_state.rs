//! Subscriptions of one client.

use std::collections::BTreeSet;
use std::sync::Arc;

const WILDCARD: &str = "*";

/// Whether the client is subscribed to all resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WildcardMode {
    /// The client has sent no request.
    #[default]
    NoRequest,
    /// The first request contained no names, which means all resources (legacy wildcard). Subscribing to a name ends
    /// it.
    Implied,
    /// Subscribed to `*`.
    Explicit,
    /// The client is subscribed to individual names only.
    Off,
}

/// The names to which a client is subscribed, and those for which a response is pending.
#[derive(Debug, Default)]
pub(super) struct SubscriptionState {
    wildcard: WildcardMode,
    names: BTreeSet<Arc<str>>,
    pending: BTreeSet<Arc<str>>,
}

impl SubscriptionState {
    /// Whether the client has sent a request.
    pub(super) fn has_request(&self) -> bool {
        self.wildcard != WildcardMode::NoRequest
    }

    pub(super) fn wants_all(&self) -> bool {
        matches!(self.wildcard, WildcardMode::Implied | WildcardMode::Explicit)
    }

    pub(super) fn wants_any(&self) -> bool {
        self.wants_all() || !self.names.is_empty()
    }

    pub(super) fn wants_name(&self, name: &str) -> bool {
        self.wants_all() || self.names.contains(name)
    }

    pub(super) fn has_explicit_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Number of individual names to which the client is subscribed.
    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// Subscribes to names. A response for each becomes pending, even if the client was subscribed to the name
    /// already, as it may have dropped the resource since.
    pub(super) fn subscribe(&mut self, names: &[String], intern: impl Fn(&str) -> Arc<str>) {
        // Order matters: the mode is decided by the whole list, before `*` within it is processed.
        match self.wildcard {
            WildcardMode::NoRequest if names.is_empty() => self.wildcard = WildcardMode::Implied,
            WildcardMode::NoRequest => self.wildcard = WildcardMode::Off,
            WildcardMode::Implied if !names.is_empty() && !names.iter().any(|name| name == WILDCARD) => {
                self.wildcard = WildcardMode::Off;
            }
            _ => {}
        }
        for name in names {
            if name == WILDCARD {
                self.wildcard = WildcardMode::Explicit;
            } else {
                let name = intern(name);
                self.names.insert(name.clone());
                self.pending.insert(name);
            }
        }
    }

    /// Unsubscribes from names. Unknown names are ignored. If a wildcard still includes the name, a response becomes
    /// pending, as the client drops a resource when it unsubscribes.
    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD && self.wants_all() {
                self.wildcard = WildcardMode::Off;
            } else if let Some(name) = self.names.take(&**name) {
                self.pending.remove(&name);
                if self.wants_all() {
                    self.pending.insert(name);
                }
            }
        }
        // Without a wildcard, only subscribed names can be pending.
        if !self.wants_all() {
            self.pending.retain(|name| self.names.contains(name));
        }
    }

    /// Marks a name as pending, if the client is subscribed to it.
    pub(super) fn mark_pending(&mut self, name: &str) {
        if self.wants_name(name) {
            self.pending.insert(name.into());
        }
    }

    pub(super) fn clear_pending(&mut self, name: &str) {
        self.pending.remove(name);
    }

    pub(super) fn first_pending(&self) -> Option<Arc<str>> {
        self.pending.first().cloned()
    }

    /// Number of pending names.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }
}
