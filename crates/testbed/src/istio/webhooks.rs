//! Waits until istiod has set up its webhooks.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until istiod has written its CA into its webhooks. Before that, every injected pod is refused, and objects
/// that Istio would refuse are accepted.
pub async fn wait_for_webhooks(client: Client) -> Result<()> {
    let injector = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let injects = |found: Option<&MutatingWebhookConfiguration>| {
        let mut all = found.into_iter().flat_map(|found| found.webhooks.iter().flatten()).peekable();
        all.peek().is_some() && all.all(|webhook| webhook.client_config.ca_bundle.is_some())
    };
    let validator = Api::<ValidatingWebhookConfiguration>::all(client);
    let validates = |found: Option<&ValidatingWebhookConfiguration>| {
        let mut all = found.into_iter().flat_map(|found| found.webhooks.iter().flatten()).peekable();
        all.peek().is_some() && all.all(|webhook| webhook.client_config.ca_bundle.is_some())
    };
    let both = async {
        await_condition(injector, "istio-sidecar-injector", injects).await?;
        await_condition(validator, "istio-validator-istio-system", validates).await
    };
    timeout(PATIENCE, both).await.context("istiod does not set up its webhooks: see its log")??;
    Ok(())
}
