//! What Istio says of the mesh itself: the ConfigMap that istiod reads.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

/// The ConfigMap that istiod puts into every namespace, with the roots that workloads trust.
///
/// Source: `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go`.
pub(crate) const ROOT_CERTIFICATES: &str = "istio-ca-root-cert";

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
    // Istio reads it as protobuf's JSON, which takes both spellings.
    #[serde(alias = "trust_domain")]
    trust_domain: Option<String>,
}

/// The trust domain that it sets; none where it sets none.
///
/// # Errors
/// Why it cannot be read. Then istiod goes on with what it knew (`pkg/config/mesh/meshwatcher/collection.go`), and so is Emcee to.
pub(crate) fn trust_domain(object: &ConfigMap) -> Result<Option<String>, String> {
    let Some(text) = object.data.as_ref().and_then(|data| data.get("mesh")) else { return Ok(None) };
    let mesh: Mesh = serde_saphyr::from_str(text).map_err(|error| format!("data.mesh: {error}"))?;
    match mesh.trust_domain {
        Some(domain) if !emcee_core::names::is_dns_name(&domain) => {
            Err(format!("data.mesh: trustDomain {domain:?} is not a DNS name"))
        }
        domain => Ok(domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mesh: &str) -> Result<Option<String>, String> {
        let data = [("mesh".to_owned(), mesh.to_owned())].into();
        trust_domain(&ConfigMap { data: Some(data), ..ConfigMap::default() })
    }

    #[test]
    fn it_is_read_among_all_the_rest() {
        let mesh = "accessLogFile: /dev/stdout\ntrustDomain: m1.example\nrootNamespace: istio-system\n";
        assert_eq!(of(mesh), Ok(Some("m1.example".into())));
        assert_eq!(of("trust_domain: m1.example"), Ok(Some("m1.example".into())));
        assert_eq!(of("accessLogFile: /dev/stdout"), Ok(None));
        assert_eq!(trust_domain(&ConfigMap::default()), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_not_what_sets_none() {
        assert!(of("{{{").is_err());
        assert!(of("trustDomain: 'not a name'").is_err());
    }

    #[test]
    fn a_revision_has_its_own() {
        assert_eq!(
            (name(None), name(Some("default")), name(Some("canary"))),
            ("istio".into(), "istio".into(), "istio-canary".into())
        );
    }
}
