//! Subscriptions of one client.

use std::collections::BTreeSet;
use std::sync::Arc;

const ALL: &str = "*";

/// Whether the client is subscribed to all resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wildcard {
    /// The client has sent no request.
    #[default]
    Unasked,
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
pub(super) struct Wanted {
    wildcard: Wildcard,
    names: BTreeSet<Arc<str>>,
    due: BTreeSet<Arc<str>>,
}

impl Wanted {
    /// Whether the client has sent a request.
    pub(super) fn is_asked(&self) -> bool {
        self.wildcard != Wildcard::Unasked
    }

    pub(super) fn all(&self) -> bool {
        matches!(self.wildcard, Wildcard::Implied | Wildcard::Explicit)
    }

    pub(super) fn any(&self) -> bool {
        self.all() || !self.names.is_empty()
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.all() || self.names.contains(name)
    }

    pub(super) fn names_one_by_one(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Number of individual names to which the client is subscribed.
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    /// Subscribes to names. A response for each becomes pending, even if the client was subscribed to the name
    /// already, as it may have dropped the resource since.
    pub(super) fn subscribe(&mut self, names: &[String], intern: impl Fn(&str) -> Arc<str>) {
        // Order matters: the mode is decided by the whole list, before `*` within it is processed.
        match self.wildcard {
            Wildcard::Unasked if names.is_empty() => self.wildcard = Wildcard::Implied,
            Wildcard::Unasked => self.wildcard = Wildcard::Off,
            Wildcard::Implied if !names.is_empty() && !names.iter().any(|name| name == ALL) => {
                self.wildcard = Wildcard::Off;
            }
            _ => {}
        }
        for name in names {
            if name == ALL {
                self.wildcard = Wildcard::Explicit;
            } else {
                let name = intern(name);
                self.names.insert(name.clone());
                self.due.insert(name);
            }
        }
    }

    /// Unsubscribes from names. Unknown names are ignored. If a wildcard still includes the name, a response becomes
    /// pending, as the client drops a resource when it unsubscribes.
    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == ALL && self.all() {
                self.wildcard = Wildcard::Off;
            } else if let Some(name) = self.names.take(&**name) {
                self.due.remove(&name);
                if self.all() {
                    self.due.insert(name);
                }
            }
        }
        // Without a wildcard, only subscribed names can be pending.
        if !self.all() {
            self.due.retain(|name| self.names.contains(name));
        }
    }

    /// Marks a name as pending, if the client is subscribed to it.
    pub(super) fn owe(&mut self, name: &str) {
        if self.wants(name) {
            self.due.insert(name.into());
        }
    }

    pub(super) fn settle(&mut self, name: &str) {
        self.due.remove(name);
    }

    pub(super) fn first_due(&self) -> Option<Arc<str>> {
        self.due.first().cloned()
    }

    /// Number of pending names.
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }
}
