//! Selects a cluster and builds a client for it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Arguments that select a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct ConnectArgs {
    /// Kubeconfig file: the cluster to use, and the credentials for it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl ConnectArgs {
    /// Returns whether a cluster is named explicitly.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Builds a client for the cluster. Without arguments it uses the pod's ServiceAccount, else the default
    /// kubeconfig.
    ///
    /// # Errors
    /// The kubeconfig does not exist or cannot be read.
    pub async fn build_client(&self) -> anyhow::Result<Client> {
        let config = match (&self.kubeconfig, &self.context) {
            (None, None) => Config::infer()
                .await
                .context("no cluster: this is not a pod, and there is no kubeconfig (set --kubeconfig)")?,
            (path, context) => {
                let kubeconfig = match path {
                    Some(path) => Kubeconfig::read_from(path),
                    None => Kubeconfig::read(),
                };
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(kubeconfig?, &options).await?
            }
        };
        Ok(Client::try_from(config)?)
    }
}
