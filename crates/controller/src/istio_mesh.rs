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
    #[serde(alias = "trust_domain_aliases")]
    trust_domain_aliases: Option<Vec<String>>,
}

/// What Istio's mesh configuration says of whom this mesh's sidecars accept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MeshTrust {
    /// `trustDomain`, where it is set.
    pub(crate) trust_domain: Option<String>,
    /// `trustDomainAliases`
    pub(crate) aliases: Vec<String>,
}

/// Reads what a mesh configuration says of trust domains.
///
/// # Errors
/// Why it cannot be read. Then istiod goes on with what it knew (`pkg/config/mesh/meshwatcher/collection.go`), and so is Emcee to.
pub(crate) fn trust(object: &ConfigMap) -> Result<MeshTrust, String> {
    let Some(text) = object.data.as_ref().and_then(|data| data.get("mesh")) else {
        return Ok(MeshTrust::default());
    };
    let mesh: Mesh = serde_saphyr::from_str(text).map_err(|error| format!("data.mesh: {error}"))?;
    match mesh.trust_domain {
        Some(domain) if !emcee_core::names::is_dns_name(&domain) => {
            Err(format!("data.mesh: trustDomain {domain:?} is not a DNS name"))
        }
        trust_domain => {
            Ok(MeshTrust { trust_domain, aliases: mesh.trust_domain_aliases.unwrap_or_default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mesh: &str) -> Result<MeshTrust, String> {
        let data = [("mesh".to_owned(), mesh.to_owned())].into();
        trust(&ConfigMap { data: Some(data), ..ConfigMap::default() })
    }

    #[test]
    fn it_is_read_among_all_the_rest() {
        let mesh = "accessLogFile: /dev/stdout\ntrustDomain: m1.example\nrootNamespace: istio-system\n";
        let m1 = MeshTrust { trust_domain: Some("m1.example".into()), aliases: Vec::new() };
        assert_eq!(of(mesh), Ok(m1.clone()));
        assert_eq!(of("trust_domain: m1.example"), Ok(m1));
        assert_eq!(of("accessLogFile: /dev/stdout"), Ok(MeshTrust::default()));
        assert_eq!(trust(&ConfigMap::default()), Ok(MeshTrust::default()));
    }

    #[test]
    fn aliases_are_read_in_both_spellings() {
        let aliases = ["two.example".to_owned(), "old.example".to_owned()];
        for key in ["trustDomainAliases", "trust_domain_aliases"] {
            let trust = of(&format!("{key}: [two.example, old.example]\ntrustDomain: m1.example\n")).unwrap();
            assert_eq!(
                (trust.trust_domain.as_deref(), trust.aliases),
                (Some("m1.example"), aliases.to_vec())
            );
        }
        assert_eq!(of("trustDomainAliases:"), Ok(MeshTrust::default()));
        assert!(of("trustDomainAliases: two.example").is_err());
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
