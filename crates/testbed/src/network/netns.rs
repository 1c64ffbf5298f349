//! A network namespace of the bed, by name.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::PREFIX;
use crate::process::run_output;
use crate::state;

/// A namespace that we created. It is removed by [`NetworkNamespace::remove`] or by the sweep of the state folder, not on
/// drop: both first kill the processes inside.
#[derive(Debug, Clone)]
pub struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    /// Creates a namespace with loopback up and forwarding on.
    pub async fn create(root: &Path, name: &str) -> Result<Self> {
        let name = format!("{PREFIX}{name}");
        ensure!(
            !Path::new("/run/netns").join(&name).exists(),
            "namespace {name} is taken: `ip netns del {name}`"
        );
        record_missing_folder(root)?;
        state::record_namespace(root, &name)?;
        run_output("ip", &["netns", "add", &name]).await.context("needs root")?;
        let made = Self { name };
        made.run_ip(&["link", "set", "lo", "up"]).await?;
        for setting in ["ip_forward=1", "conf.all.rp_filter=0", "ip_unprivileged_port_start=0"] {
            made.run_command(&["sysctl", "-qw", &format!("net.ipv4.{setting}")]).await?;
        }
        Ok(made)
    }

    /// The name that `ip netns` uses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that keeps the namespace alive.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `ip` in the namespace.
    pub async fn run_ip(&self, arguments: &[&str]) -> Result<()> {
        run_output("ip", &[&["-n", &self.name], arguments].concat()).await.map(drop)
    }

    async fn run_command(&self, command: &[&str]) -> Result<()> {
        let net = format!("--net={}", self.path().display());
        run_output("nsenter", &[&[net.as_str()], command].concat()).await.map(drop)
    }

    /// Adds a bridge to the namespace.
    pub async fn add_bridge(&self, name: &str) -> Result<()> {
        self.run_ip(&["link", "add", name, "type", "bridge"]).await?;
        self.run_ip(&["link", "set", name, "up"]).await
    }

    /// Adds an address to a device, and sets the device up.
    pub async fn add_address(&self, device: &str, address: Ipv4Addr, bits: u8) -> Result<()> {
        self.run_ip(&["addr", "add", &format!("{address}/{bits}"), "dev", device]).await?;
        self.run_ip(&["link", "set", device, "up"]).await
    }

    /// Connects a bridge of this namespace with a new device of another one. Neither end is ever outside the two.
    pub async fn connect_bridge(
        &self,
        bridge: &str,
        port: &str,
        other: &NetworkNamespace,
        device: &str,
    ) -> Result<()> {
        let pair = ["link", "add", port, "type", "veth", "peer", "name", device, "netns", &other.name];
        self.run_ip(&pair).await?;
        self.run_ip(&["link", "set", port, "master", bridge, "up"]).await
    }

    /// Removes the namespace with all its devices, and kills the processes that are still inside.
    pub async fn remove(self, root: &Path) -> Result<()> {
        let path = self.path();
        tokio::task::spawn_blocking(move || state::kill_processes_in(&path)).await?;
        run_output("ip", &["netns", "del", &self.name]).await?;
        let _ = std::fs::remove_file(root.join("netns").join(&self.name));
        Ok(())
    }
}

fn record_missing_folder(root: &Path) -> Result<()> {
    if !Path::new("/run/netns").exists() {
        std::fs::write(root.join("netns-folder"), "")?;
    }
    Ok(())
}
