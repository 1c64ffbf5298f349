//! What a client is subscribed to.

use std::collections::BTreeSet;
use std::sync::Arc;

const ALL: &str = "*";

/// Whether all resources are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wildcard {
    /// Nothing was asked for yet.
    #[default]
    Unasked,
    /// As no name was ever subscribed to. The first name ends this.
    Implied,
    /// Subscribed to `*`.
    Explicit,
    /// Only what is named.
    Off,
}

/// What a client is subscribed to, and which names it is owed an answer about.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    wildcard: Wildcard,
    names: BTreeSet<Arc<str>>,
    due: BTreeSet<Arc<str>>,
}

impl Wanted {
    /// Whether there was a request.
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

    /// How many names are subscribed to.
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    /// Each name is due, also one that was subscribed to before: the client may have dropped it meanwhile.
    pub(super) fn subscribe(&mut self, names: &[String], intern: impl Fn(&str) -> Arc<str>) {
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

    /// Names that are not subscribed to are of no matter. One that the wildcard still wants is due: the client forgets
    /// what it unsubscribes from.
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
        if !self.all() {
            self.due.retain(|name| self.names.contains(name));
        }
    }

    /// An answer about `name` is due, if it is wanted.
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

    /// How many names are due.
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }
}
