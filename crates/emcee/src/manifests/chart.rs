//! The Helm chart, made from the same description as `emcee manifests` prints.
//!
//! The definitions are templates, not in `crds/`: what is there, Helm installs once and never brings up to date, and an
//! API server with an old definition drops the fields that it does not know. `helm.sh/resource-policy: keep` keeps
//! users' resources when the chart is uninstalled.

use std::collections::BTreeMap;

use emcee_api::custom_resource_definitions;
use serde_json::{Value, json};

use super::form::Form;
use super::{NAME, Part, uninstall, values};
use crate::manifest::{WriteError, to_yaml};

const NOTES: &str = "\
Emcee follows {{ if has `*` .Values.watchNamespaces }}all namespaces{{ else }}{{ join `, ` .Values.watchNamespaces }}{{ end }}.
{{- if .Values.fedNamespaces }}
Relationships may have their Secrets and gateways in: {{ join `, ` .Values.fedNamespaces }}.
{{- else }}
No fedNamespaces are given: Emcee may read no Secret and make no gateway, so only FLAT and gateways of your own will work.
{{- end }}

How the mesh is: kubectl get meshfedconfigs,serviceexpositions,servicebindings -A
";

/// The files of the chart, by their paths in it.
///
/// # Errors
/// Something cannot be written as YAML.
pub fn files() -> Result<BTreeMap<&'static str, String>, WriteError> {
    let form = Form::Chart;
    Ok(BTreeMap::from([
        ("Chart.yaml", to_yaml(&[about()])?),
        ("values.yaml", values::yaml()?),
        ("values.schema.json", format!("{:#}\n", values::schema())),
        ("templates/NOTES.txt", NOTES.to_owned()),
        ("templates/crds.yaml", crds()?),
        ("templates/rbac.yaml", template(&Part::Rbac.in_form(&form))?),
        ("templates/deployment.yaml", template(&Part::Deployment.in_form(&form))?),
        ("templates/webhook.yaml", template(&Part::Webhook.in_form(&form))?),
        ("templates/uninstall.yaml", template(&uninstall::objects(&form))?),
    ]))
}

fn about() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "apiVersion": "v2",
        "name": NAME,
        "description": "Master of ceremonies for Istio multi-mesh: expose services to other meshes, bind theirs",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.33.0-0",
    })
}

fn crds() -> Result<String, WriteError> {
    let mut text = "{{- if .Values.installCrds }}\n".to_owned();
    for definition in custom_resource_definitions() {
        let mut definition = json!(definition);
        definition["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        // Helm would take braces of a description for its own.
        let yaml = to_yaml(&[definition])?.replace("{{", "{{ `{{` }}");
        text.push_str("---\n");
        text.push_str(&yaml);
    }
    text.push_str("{{- end }}\n");
    Ok(text)
}

fn template(objects: &[Value]) -> Result<String, WriteError> {
    let mut text = String::new();
    for object in objects {
        if let Some(line) = object.as_str() {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        text.push_str("---\n");
        for line in to_yaml(std::slice::from_ref(object))?.lines() {
            text.push_str(&unquoted(line));
            text.push('\n');
        }
    }
    Ok(text)
}

/// A line of YAML in the language of templates, see [`Form::Chart`].
fn unquoted(line: &str) -> String {
    let text = line.strip_suffix("}}\"");
    if let Some((indent, control)) = text.and_then(|text| text.split_once("- \"{{- ")) {
        return format!("{indent}{{{{- {control}}}}}");
    }
    if let Some((key, value)) = text.and_then(|text| text.split_once(": \"{{ toJson ")) {
        return format!("{key}: {{{{ toJson {value}}}}}");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_line_and_a_value_lose_their_quotes_and_texts_keep_them() {
        let list = json!({"a": ["{{- if $.x }}", "{{ $.y }}", "{{- end }}"], "b": "{{ toJson $.z }}"});
        let wanted = "---\na:\n{{- if $.x }}\n- \"{{ $.y }}\"\n{{- end }}\nb: {{ toJson $.z }}\n{{- end }}\n";
        assert_eq!(template(&[list, "{{- end }}".into()]).expect("YAML"), wanted);
    }
}
