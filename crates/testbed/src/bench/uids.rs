//! The UIDs of objects, as soon as the objects exist.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// UIDs by `KIND/NAMESPACE/NAME`. Clones share their content.
#[derive(Debug, Clone, Default)]
pub(super) struct UidRegistry {
    known: Arc<Mutex<HashMap<String, String>>>,
    noted: Arc<Notify>,
}

impl UidRegistry {
    /// Records the UID of a new object.
    pub(super) fn record(&self, key: String, uid: String) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, uid);
        self.noted.notify_waiters();
    }

    /// Waits until the object exists; returns its UID.
    pub(super) async fn wait_for(&self, key: &str) -> String {
        loop {
            // Created before the lookup, so that a UID that is recorded in between is not missed.
            let noted = self.noted.notified();
            if let Some(uid) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
                return uid.clone();
            }
            noted.await;
        }
    }

    /// Keys of the objects, by UID.
    pub(super) fn keys_by_uid(&self) -> HashMap<String, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(key, uid)| (uid.clone(), key.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_early_lookup_waits() {
        let uids = UidRegistry::default();
        let early = uids.clone();
        let lookup = tokio::spawn(async move { early.wait_for("A/b/c").await });
        tokio::task::yield_now().await;
        uids.record("A/b/d".to_owned(), "1".to_owned());
        uids.record("A/b/c".to_owned(), "2".to_owned());
        assert_eq!(lookup.await.expect("no panic"), "2");
        assert_eq!(uids.keys_by_uid()["1"], "A/b/d");
    }
}
