//! Objects of the admission webhook: the API server asks Emcee before it accepts a resource.

use emcee_api::{GROUP, VERSION};
use serde_json::{Value, json};

use super::rbac::{policy_rule, role_binding, role_object};
use super::renderer::Renderer;
use super::{NAME, USER_RESOURCES, WEBHOOK_PORT, common_labels};
use crate::webhook::{PATH, WebhookOptions};

const ROLE_NAME: &str = "emcee-webhook";

pub(super) fn objects(form: &Renderer<'_>) -> Vec<Value> {
    let options = WebhookOptions::for_namespace(&form.namespace());
    vec![webhook_service(&options), webhook_configuration(&options)]
}

fn webhook_service(options: &WebhookOptions) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": options.service, "namespace": options.namespace, "labels": common_labels()},
        "spec": {
            "selector": {"app.kubernetes.io/name": NAME},
            "ports": [{"name": "https", "port": 443, "targetPort": WEBHOOK_PORT}],
        },
    })
}

/// Returns the webhook configuration. If Emcee is unavailable, the API server accepts all resources, and Emcee reports
/// problems as conditions later. Emcee adds the CA bundle at runtime.
fn webhook_configuration(options: &WebhookOptions) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": options.configuration, "labels": common_labels()},
        "webhooks": [{
            "name": format!("validate.{GROUP}"),
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {"name": options.service, "namespace": options.namespace, "path": PATH, "port": 443},
            },
            // With `Fail`, no resource could be created or changed while Emcee is down, not even to remove a finalizer.
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "rules": [{
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": ["CREATE", "UPDATE"],
                "resources": USER_RESOURCES,
                "scope": "Namespaced",
            }],
        }],
    })
}

/// Returns the roles and bindings to write the certificate into its Secret, and its CA into the webhook configuration.
/// RBAC cannot restrict `create` to a name.
pub(super) fn rbac_objects(form: &Renderer<'_>) -> Vec<Value> {
    let own = form.namespace();
    let options = WebhookOptions::for_namespace(&own);
    let mut secret = policy_rule("", &["secrets"], &["get", "list", "watch", "update"]);
    secret["resourceNames"] = json!([options.secret]);
    let mut configuration = policy_rule(
        "admissionregistration.k8s.io",
        &["validatingwebhookconfigurations"],
        &["get", "list", "watch", "patch"],
    );
    configuration["resourceNames"] = json!([options.configuration]);
    vec![
        role_object("Role", ROLE_NAME, Some(&own), &[policy_rule("", &["secrets"], &["create"]), secret]),
        role_binding(form, "Role", ROLE_NAME, Some(&own)),
        role_object("ClusterRole", ROLE_NAME, None, &[configuration]),
        role_binding(form, "ClusterRole", ROLE_NAME, None),
    ]
}
