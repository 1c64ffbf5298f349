//! Objects of the admission webhook: the API server asks Emcee before it accepts a resource.

use emcee_api::{GROUP, VERSION};
use serde_json::{Value, json};

use super::form::Form;
use super::rbac::{binding, role, rule};
use super::{NAME, USERS, WEBHOOK, labels};
use crate::webhook::{PATH, WebhookOptions};

const RIGHTS: &str = "emcee-webhook";

pub(super) fn objects(form: &Form<'_>) -> Vec<Value> {
    let options = WebhookOptions::usual(&form.namespace());
    vec![service(&options), configuration(&options)]
}

fn service(options: &WebhookOptions) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": options.service, "namespace": options.namespace, "labels": labels()},
        "spec": {
            "selector": {"app.kubernetes.io/name": NAME},
            "ports": [{"name": "https", "port": 443, "targetPort": WEBHOOK}],
        },
    })
}

/// Returns the webhook configuration. If Emcee is unavailable, the API server accepts all resources, and Emcee reports
/// problems as conditions later. Emcee adds the CA bundle at runtime.
fn configuration(options: &WebhookOptions) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": options.configuration, "labels": labels()},
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
                "resources": USERS,
                "scope": "Namespaced",
            }],
        }],
    })
}

/// Returns the roles and bindings to write the certificate into its Secret, and its CA into the webhook configuration.
/// RBAC cannot restrict `create` to a name.
pub(super) fn rights(form: &Form<'_>) -> Vec<Value> {
    let own = form.namespace();
    let options = WebhookOptions::usual(&own);
    let mut secret = rule("", &["secrets"], &["get", "list", "watch", "update"]);
    secret["resourceNames"] = json!([options.secret]);
    let mut configuration = rule(
        "admissionregistration.k8s.io",
        &["validatingwebhookconfigurations"],
        &["get", "list", "watch", "patch"],
    );
    configuration["resourceNames"] = json!([options.configuration]);
    vec![
        role("Role", RIGHTS, Some(&own), &[rule("", &["secrets"], &["create"]), secret]),
        binding(form, "Role", RIGHTS, Some(&own)),
        role("ClusterRole", RIGHTS, None, &[configuration]),
        binding(form, "ClusterRole", RIGHTS, None),
    ]
}
