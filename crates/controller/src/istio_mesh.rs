//! What Istio says of the mesh itself: the ConfigMap that istiod reads.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

/// The ConfigMap of a revision.
///
/// Source: `pilot/pkg/bootstrap/mesh.go`: `istio`, and `istio-<revision>` for revisions other than `default`.
pub(crate) fn name(revision: Option<&str>) -> String {
    match revision {
        None | Some("default") => "istio".to_owned(),
        Some(revision) => format!("istio-{revision}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mesh {
    trust_domain: Option<String>,
}

/// The trust domain that it sets. None where it sets none, or cannot be read: then istiod has Istio's default too.
pub(crate) fn trust_domain(object: &ConfigMap) -> Option<String> {
    let text = object.data.as_ref()?.get("mesh")?;
    let mesh: Mesh = serde_saphyr::from_str(text).ok()?;
    mesh.trust_domain.filter(|domain| emcee_core::names::is_dns_name(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mesh: &str) -> Option<String> {
        let data = [("mesh".to_owned(), mesh.to_owned())].into();
        trust_domain(&ConfigMap { data: Some(data), ..ConfigMap::default() })
    }

    #[test]
    fn it_is_read_among_all_the_rest() {
        assert_eq!(
            of("accessLogFile: /dev/stdout\ntrustDomain: m1.example\nrootNamespace: istio-system\n"),
            Some("m1.example".into())
        );
        assert_eq!(of("accessLogFile: /dev/stdout"), None);
        assert_eq!(of("{{{"), None);
        assert_eq!(of("trustDomain: 'not a name'"), None);
        assert_eq!(trust_domain(&ConfigMap::default()), None);
    }

    #[test]
    fn a_revision_has_its_own() {
        assert_eq!(
            (name(None), name(Some("default")), name(Some("canary"))),
            ("istio".into(), "istio".into(), "istio-canary".into())
        );
    }
}
