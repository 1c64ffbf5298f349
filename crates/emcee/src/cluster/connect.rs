//! Selects a cluster and builds a client for it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::api_error::{self, ServerError};
use super::kubeconfig;
use super::patience::PatienceLayer;

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

    /// How long the API server may take to answer a request
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_request_timeout)]
    request_timeout: Duration,
}

/// Parses the value of `--request-timeout`. A time of 0 would refuse every answer.
fn parse_request_timeout(text: &str) -> Result<Duration, String> {
    let timeout = crate::cli::common_args::parse_duration(text)?;
    if timeout.is_zero() { Err("must be more than 0, such as 15s".to_owned()) } else { Ok(timeout) }
}

impl ConnectArgs {
    /// Returns whether a cluster is named explicitly.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Builds a client for a command: each request has a deadline, and a terminal shows when the server is slow.
    ///
    /// # Errors
    /// The kubeconfig does not exist, cannot be read, or does not have the context.
    pub async fn build_client(&self) -> anyhow::Result<Client> {
        let mut config = self.load_config().await?;
        let target = self.describe_target(&config);
        // It repeats up to 15 times and doubles the pause, so that a command would hang. The layer below repeats reads.
        config.default_retry = false;
        // Later than the deadline of the layer, whose error says how long it was.
        let idle_timeout = self.request_timeout + Duration::from_secs(1);
        config.connect_timeout = Some(idle_timeout);
        // The time between two pieces of a response, and therefore also the end of a body that never comes.
        config.read_timeout = Some(idle_timeout);
        config.write_timeout = Some(idle_timeout);
        let layer = PatienceLayer::new(self.request_timeout, target);
        let builder = ClientBuilder::try_from(config).map_err(|error| ServerError::from(&error))?;
        Ok(builder.with_layer(&layer).build())
    }

    /// Builds a client for a controller, which waits for its watches as long as it runs.
    ///
    /// # Errors
    /// As [`ConnectArgs::build_client`].
    pub async fn build_controller_client(&self) -> anyhow::Result<Client> {
        let config = self.load_config().await?;
        Ok(Client::try_from(config).map_err(|error| ServerError::from(&error))?)
    }

    /// Checks that the API server answers, so that one line tells what is wrong.
    ///
    /// # Errors
    /// The API server does not answer in time, or does not accept the credentials.
    pub(crate) async fn check_server(&self, client: &Client) -> anyhow::Result<()> {
        client.apiserver_version().await.context("failed to reach the API server")?;
        Ok(())
    }

    /// Adds server and context to an error of the API server. Other errors stay as they are.
    pub(crate) fn name_target(&self, error: anyhow::Error) -> anyhow::Error {
        if !api_error::is_server_error(&error) {
            return error;
        }
        match self.target_name() {
            Some(target) => error.context(target),
            None => error,
        }
    }

    /// Returns server and context as the kubeconfig has them. `None` in a pod, and without a kubeconfig.
    pub(crate) fn target_name(&self) -> Option<String> {
        let kubeconfig = self.read_kubeconfig().ok()?;
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone())?;
        let server = kubeconfig::server_of(&kubeconfig, &context)?;
        Some(format!("{server} (context {context})"))
    }

    /// Returns whether the kubeconfig of a person is used, and not the ServiceAccount of a pod.
    pub(crate) fn is_outside_of_pod(&self) -> bool {
        self.is_given() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_none()
    }

    async fn load_config(&self) -> anyhow::Result<Config> {
        if !self.is_outside_of_pod() {
            return Config::infer().await.context("the ServiceAccount of this pod cannot be read");
        }
        let described =
            |error: &KubeconfigError| kubeconfig::describe_error(error, self.kubeconfig.as_deref());
        let kubeconfig = self.read_kubeconfig().map_err(|error| described(&error))?;
        kubeconfig::check_context(&kubeconfig, self.context.as_deref(), self.kubeconfig.as_deref())?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        config.map_err(|error| described(&error))
    }

    fn read_kubeconfig(&self) -> Result<Kubeconfig, KubeconfigError> {
        match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        }
    }

    fn describe_target(&self, config: &Config) -> String {
        self.target_name().unwrap_or_else(|| config.cluster_url.to_string())
    }
}
