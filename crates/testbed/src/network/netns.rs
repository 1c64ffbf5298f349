//! A network namespace of ours, by name.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::PREFIX;
use crate::process::output;
use crate::state;

/// A namespace that we made. It is removed by [`Namespace::remove`] or by the state's sweep, not on drop:
/// both know of processes inside, which must go first.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with loopback up and forwarding on.
    pub async fn make(root: &Path, name: &str) -> Result<Self> {
        let name = format!("{PREFIX}{name}");
        ensure!(
            !Path::new("/run/netns").join(&name).exists(),
            "namespace {name} is taken: `ip netns del {name}`"
        );
        note_folder(root)?;
        state::record_namespace(root, &name)?;
        output("ip", &["netns", "add", &name]).await.context("needs root")?;
        let made = Self { name };
        made.ip(&["link", "set", "lo", "up"]).await?;
        for setting in ["ip_forward=1", "conf.all.rp_filter=0", "ip_unprivileged_port_start=0"] {
            made.run(&["sysctl", "-qw", &format!("net.ipv4.{setting}")]).await?;
        }
        Ok(made)
    }

    /// The name that `ip netns` knows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that keeps it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `ip` in it.
    pub async fn ip(&self, arguments: &[&str]) -> Result<()> {
        output("ip", &[&["-n", &self.name], arguments].concat()).await.map(drop)
    }

    async fn run(&self, command: &[&str]) -> Result<()> {
        let net = format!("--net={}", self.path().display());
        output("nsenter", &[&[net.as_str()], command].concat()).await.map(drop)
    }

    /// Makes a bridge in it.
    pub async fn bridge(&self, name: &str) -> Result<()> {
        self.ip(&["link", "add", name, "type", "bridge"]).await?;
        self.ip(&["link", "set", name, "up"]).await
    }

    /// Gives a device an address.
    pub async fn address(&self, device: &str, address: Ipv4Addr, bits: u8) -> Result<()> {
        self.ip(&["addr", "add", &format!("{address}/{bits}"), "dev", device]).await?;
        self.ip(&["link", "set", device, "up"]).await
    }

    /// Connects a bridge of this namespace with a new device of another; no end is ever outside.
    pub async fn plug(&self, bridge: &str, port: &str, other: &Namespace, device: &str) -> Result<()> {
        let pair = ["link", "add", port, "type", "veth", "peer", "name", device, "netns", &other.name];
        self.ip(&pair).await?;
        self.ip(&["link", "set", port, "master", bridge, "up"]).await
    }

    /// Removes it with all its devices and whoever is still inside.
    pub async fn remove(self, root: &Path) -> Result<()> {
        let path = self.path();
        tokio::task::spawn_blocking(move || state::empty_namespace(&path)).await?;
        output("ip", &["netns", "del", &self.name]).await?;
        let _ = std::fs::remove_file(root.join("netns").join(&self.name));
        Ok(())
    }
}

fn note_folder(root: &Path) -> Result<()> {
    if !Path::new("/run/netns").exists() {
        std::fs::write(root.join("netns-folder"), "")?;
    }
    Ok(())
}
