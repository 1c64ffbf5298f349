//! What the admin port shows where a folder is followed.

use emcee_controller::Offers;
use emcee_core::plan::Object;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::View;
use crate::admin::Health;

/// How the follower of a folder is.
pub(crate) struct FolderHealth {
    views: watch::Receiver<View>,
}

impl FolderHealth {
    pub(super) fn new(views: watch::Receiver<View>) -> Self {
        Self { views }
    }
}

impl Health for FolderHealth {
    fn blockers(&self) -> Vec<String> {
        let unread = || vec!["the folder has not been read yet".to_owned()];
        if self.views.borrow().is_complete { Vec::new() } else { unread() }
    }

    fn stalled(&self) -> Option<String> {
        self.views.has_changed().is_err().then(|| "the folder is not followed any more".to_owned())
    }

    fn config_dump(&self) -> BoxFuture<'_, Value> {
        let view = self.views.borrow();
        let objects: Vec<_> = view.objects.iter().map(Object::for_people).collect();
        Box::pin(std::future::ready(json!({"objects": objects})))
    }

    fn offers(&self) -> BoxFuture<'_, Option<Offers>> {
        let listings = self.views.borrow().listing.clone();
        Box::pin(std::future::ready(Some(Offers { follows: true, listings })))
    }
}
