//! The CA bundles of a webhook configuration.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::WebhookOptions;

/// Returns the webhooks of a configuration. For those that call this Service, `bundle` converts the old CA bundle to
/// the new one.
pub(super) fn with_ca_bundle(
    webhooks: &Value,
    options: &WebhookOptions,
    bundle: impl Fn(&str) -> String,
) -> Value {
    let mut webhooks = webhooks.clone();
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        let client = &mut webhook["clientConfig"];
        // The configuration may contain webhooks of others. They keep their CAs.
        if client["service"]["name"] == *options.service
            && client["service"]["namespace"] == *options.namespace
        {
            let old = client.get("caBundle").cloned().unwrap_or_default();
            let old = serde_json::from_value::<ByteString>(old).unwrap_or_default();
            let new = bundle(&String::from_utf8_lossy(&old.0));
            client["caBundle"] = json!(ByteString(new.into_bytes()));
        }
    }
    webhooks
}
