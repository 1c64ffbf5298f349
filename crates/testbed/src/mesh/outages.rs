//! Outages of the control plane that a mesh has to survive.

use std::sync::Arc;

use anyhow::Result;

use super::Mesh;

impl Mesh {
    /// Kills the apiserver, runs `meanwhile` without one, starts it again and waits until it is ready.
    pub fn without_apiserver(&self, meanwhile: impl FnOnce() + Send + 'static) -> Result<()> {
        let control_plane = Arc::clone(&self.0.control_plane);
        self.run(async move { control_plane.lock().await.restart_apiserver(meanwhile).await })
    }

    /// Kills istiod, runs `meanwhile` without one, starts it again and waits until it is ready.
    pub fn without_istiod(&self, meanwhile: impl FnOnce() + Send + 'static) -> Result<()> {
        let istiod = Arc::clone(&self.0.istiod);
        self.run(async move { istiod.lock().await.restart(meanwhile).await })
    }
}
