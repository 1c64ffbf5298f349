//! Health and introspection of file mode, for the admin port.

use emcee_controller::CatalogueState;
use emcee_core::plan::GeneratedObject;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::FileModeView;
use crate::run::admin::EngineHealth;

/// Health of file mode, read from the state that it publishes.
pub(crate) struct FileModeHealth {
    views: watch::Receiver<FileModeView>,
}

impl FileModeHealth {
    pub(super) fn new(views: watch::Receiver<FileModeView>) -> Self {
        Self { views }
    }
}

impl EngineHealth for FileModeHealth {
    fn readiness_blockers(&self) -> Vec<String> {
        let unread = || vec!["the folder has not been read yet".to_owned()];
        if self.views.borrow().is_complete { Vec::new() } else { unread() }
    }

    fn stall_reason(&self) -> Option<String> {
        // An error means that the sender, and with it the loop of file mode, is gone.
        self.views.has_changed().is_err().then(|| "the folder is no longer being read".to_owned())
    }

    fn config_dump(&self) -> BoxFuture<'_, Value> {
        let view = self.views.borrow();
        let objects: Vec<_> = view.objects.iter().map(GeneratedObject::to_redacted_json).collect();
        Box::pin(std::future::ready(json!({"objects": objects})))
    }

    fn catalogue_reports(&self) -> BoxFuture<'_, Option<CatalogueState>> {
        let listings = self.views.borrow().listing.clone();
        Box::pin(std::future::ready(Some(CatalogueState { follows_peers: true, reports: listings })))
    }
}
