//! The Helm chart, created from the same description as the output of `emcee manifests`.
//!
//! The CRDs are templates and not in `crds/`. Helm installs files in `crds/` once and never updates them, and an API
//! server with an old CRD drops the fields that it does not know. `helm.sh/resource-policy: keep` preserves the CRDs,
//! and so the users' resources, when the chart is uninstalled.

use std::collections::BTreeMap;

use emcee_api::custom_resource_definitions;
use emcee_yaml::{YamlWriteError, to_yaml};
use serde_json::{Value, json};

use super::renderer::Renderer;
use super::{InstallPart, NAME, uninstall, values};

const NOTES: &str = "\
Emcee watches {{ if has `*` .Values.watchNamespaces }}all namespaces{{ else }}{{ join `, ` .Values.watchNamespaces }}{{ end }}.
{{- if .Values.fedNamespaces }}
Relationships can have their Secrets and gateways in: {{ join `, ` .Values.fedNamespaces }}.
{{- else }}
With no fedNamespaces, Emcee has no access to Secrets and creates no gateways. Only FLAT and your own gateways work.
{{- end }}

Show the state of the mesh: kubectl get meshfedconfigs,serviceexpositions,servicebindings -A
";

/// Returns the files of the chart by path.
///
/// # Errors
/// An object cannot be written as YAML.
pub fn files() -> Result<BTreeMap<&'static str, String>, YamlWriteError> {
    let form = Renderer::Chart;
    Ok(BTreeMap::from([
        ("Chart.yaml", to_yaml(&[chart_metadata()])?),
        ("values.yaml", values::yaml()?),
        ("values.schema.json", format!("{:#}\n", values::schema())),
        ("templates/NOTES.txt", NOTES.to_owned()),
        ("templates/crds.yaml", crds_template()?),
        ("templates/rbac.yaml", render_template(&InstallPart::Rbac.render_objects(&form))?),
        ("templates/deployment.yaml", render_template(&InstallPart::Deployment.render_objects(&form))?),
        ("templates/webhook.yaml", render_template(&InstallPart::Webhook.render_objects(&form))?),
        ("templates/uninstall.yaml", render_template(&uninstall::objects(&form))?),
    ]))
}

fn chart_metadata() -> Value {
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

fn crds_template() -> Result<String, YamlWriteError> {
    let mut text = "{{- if .Values.installCrds }}\n".to_owned();
    for definition in custom_resource_definitions() {
        let mut definition = json!(definition);
        definition["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        // Helm would evaluate `{{` in a description as a template.
        let yaml = to_yaml(&[definition])?.replace("{{", "{{ `{{` }}");
        text.push_str("---\n");
        text.push_str(&yaml);
    }
    text.push_str("{{- end }}\n");
    Ok(text)
}

fn render_template(objects: &[Value]) -> Result<String, YamlWriteError> {
    let mut text = String::new();
    for object in objects {
        // A string is a control line, such as `{{- if … }}`, between objects.
        if let Some(line) = object.as_str() {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        text.push_str("---\n");
        // Control lines and values within an object are YAML strings: remove their quotes.
        for line in to_yaml(std::slice::from_ref(object))?.lines() {
            text.push_str(&unquote_template_line(line));
            text.push('\n');
        }
    }
    Ok(text)
}

/// Converts a line of YAML into a line of a template, see [`Renderer::Chart`].
fn unquote_template_line(line: &str) -> String {
    let text = line.strip_suffix("}}\"");
    // `- "{{- if … }}"`: an item of a list becomes a control line.
    if let Some((indent, control)) = text.and_then(|text| text.split_once("- \"{{- ")) {
        return format!("{indent}{{{{- {control}}}}}");
    }
    // `key: "{{ toJson … }}"`: the value may be any JSON, which is also YAML.
    if let Some((key, value)) = text.and_then(|text| text.split_once(": \"{{ toJson ")) {
        return format!("{key}: {{{{ toJson {value}}}}}");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_lines_and_values_lose_their_quotes_and_strings_keep_them() {
        let list = json!({"a": ["{{- if $.x }}", "{{ $.y }}", "{{- end }}"], "b": "{{ toJson $.z }}"});
        let expected =
            "---\na:\n{{- if $.x }}\n- \"{{ $.y }}\"\n{{- end }}\nb: {{ toJson $.z }}\n{{- end }}\n";
        assert_eq!(render_template(&[list, "{{- end }}".into()]).expect("YAML"), expected);
    }
}
