//! Paths of the cached binaries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{envoy, golang};

/// Environment variable with the cache folder.
pub const CACHE_VARIABLE: &str = "EMCEE_TESTBED_CACHE";

/// One version of all binaries. A file has its final name only when it is complete.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The folder for the versions that this crate pins, whether or not it is filled.
    pub fn expected() -> Result<Self> {
        Ok(Self { folder: cache_folder()?.join(cache_key()) })
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of one file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Path of one file, as text for a command line.
    pub fn command(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Names of the files that do not exist yet.
    pub fn missing(&self) -> Vec<&'static str> {
        binary_names().filter(|name| !self.path(name).exists()).collect()
    }
}

/// Names of all files of a filled cache.
pub fn binary_names() -> impl Iterator<Item = &'static str> {
    golang::MODULES.iter().flat_map(golang::GoModule::files).chain([envoy::NAME])
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(CACHE_VARIABLE) {
        return Ok(PathBuf::from(folder));
    }
    let user = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache =
        user.or_else(home).with_context(|| format!("no cache folder: set {CACHE_VARIABLE} or HOME"))?;
    Ok(cache.join("emcee-testbed"))
}

fn cache_key() -> String {
    let mut hash = Sha256::new();
    for module in golang::MODULES {
        hash.update(module.go_mod);
        hash.update(module.go_sum);
        hash.update(module.source.1);
        hash.update(format!("{:?}", module.commands));
    }
    hash.update(envoy::VERSION);
    HEXLOWER.encode(&hash.finalize()[..8])
}
