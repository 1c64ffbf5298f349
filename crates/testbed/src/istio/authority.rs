//! The root of a mesh's identities.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cluster::Authority;

/// A root that several meshes may share.
#[derive(Clone)]
pub struct CommonRoot(Arc<Authority>);

/// The root of one mesh.
#[derive(Clone, Default)]
pub enum MeshRoot {
    /// istiod creates its own root; no other mesh trusts it.
    #[default]
    Own,
    /// An intermediate of a common root, which the end-to-end styles need.
    Common(CommonRoot),
}

impl CommonRoot {
    /// Creates a new root.
    pub fn new() -> Result<Self> {
        Ok(Self(Arc::new(Authority::root("emcee-testbed common root")?)))
    }
}

impl MeshRoot {
    /// Writes the folder from which istiod reads its authority. It is empty if istiod creates its own.
    pub(super) fn write_files(&self, mesh: &str, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let Self::Common(CommonRoot(root)) = self else { return Ok(()) };
        let own = root.intermediate(&format!("istio-{mesh}"))?.identity();
        let root = root.identity().certificate;
        let chain = format!("{}{root}", own.certificate);
        let files = [
            ("ca-cert.pem", &own.certificate),
            ("ca-key.pem", &own.key),
            ("root-cert.pem", &root),
            ("cert-chain.pem", &chain),
        ];
        files.iter().try_for_each(|(name, text)| {
            std::fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))
        })
    }
}
