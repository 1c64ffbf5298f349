//! Reads Istio's configuration of the mesh from istiod's ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

/// ConfigMap that istiod creates in every namespace, with the root certificates that workloads trust.
///
/// Source: `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go`.
pub(crate) const ROOT_CERTIFICATES: &str = "istio-ca-root-cert";

/// Returns the name of the ConfigMap of a revision.
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
    // Istio reads this as protobuf JSON, which accepts both spellings.
    #[serde(alias = "trust_domain")]
    trust_domain: Option<String>,
    #[serde(alias = "trust_domain_aliases")]
    trust_domain_aliases: Option<Vec<String>>,
}

/// Trust domains that this mesh's sidecars accept, according to Istio's mesh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MeshTrust {
    /// Value of `trustDomain`; `None` if it is not set.
    pub(crate) trust_domain: Option<String>,
    /// Value of `trustDomainAliases`; empty if it is not set.
    pub(crate) aliases: Vec<String>,
}

/// Reads the trust domains from a mesh configuration.
///
/// # Errors
/// Why it cannot be read. istiod then keeps its previous configuration
/// (`pkg/config/mesh/meshwatcher/collection.go`), and Emcee must do the same.
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
