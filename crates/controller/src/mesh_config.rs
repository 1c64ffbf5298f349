//! Reads Istio's configuration of the mesh from istiod's ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

/// ConfigMap that istiod creates in every namespace, with the root certificates that workloads trust.
///
/// Source: `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go`.
pub(crate) const ROOT_CERT_CONFIG_MAP: &str = "istio-ca-root-cert";

/// Returns the name of the ConfigMap of a revision.
///
/// Source: `pilot/pkg/bootstrap/mesh.go`: `istio`, and `istio-<revision>` for revisions other than `default`.
pub(crate) fn config_map_name(revision: Option<&str>) -> String {
    match revision {
        None | Some("default") => "istio".to_owned(),
        Some(revision) => format!("istio-{revision}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MeshConfigFields {
    // Istio reads this as protobuf JSON, which accepts both spellings.
    #[serde(alias = "trust_domain")]
    trust_domain: Option<String>,
    #[serde(alias = "trust_domain_aliases")]
    trust_domain_aliases: Option<Vec<String>>,
}

/// Trust domains that this mesh's sidecars accept, according to Istio's mesh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MeshTrustDomains {
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
pub(crate) fn parse_trust_domains(object: &ConfigMap) -> Result<MeshTrustDomains, String> {
    let Some(text) = object.data.as_ref().and_then(|data| data.get("mesh")) else {
        return Ok(MeshTrustDomains::default());
    };
    let mesh: MeshConfigFields =
        serde_saphyr::from_str(text).map_err(|error| format!("data.mesh: {error}"))?;
    match mesh.trust_domain {
        Some(domain) if !emcee_core::names::is_dns_name(&domain) => {
            Err(format!("data.mesh: trustDomain {domain:?} is not a DNS name"))
        }
        trust_domain => {
            Ok(MeshTrustDomains { trust_domain, aliases: mesh.trust_domain_aliases.unwrap_or_default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_mesh(mesh: &str) -> Result<MeshTrustDomains, String> {
        let data = [("mesh".to_owned(), mesh.to_owned())].into();
        parse_trust_domains(&ConfigMap { data: Some(data), ..ConfigMap::default() })
    }

    #[test]
    fn the_trust_domain_is_read_among_other_fields() {
        let mesh = "accessLogFile: /dev/stdout\ntrustDomain: m1.example\nrootNamespace: istio-system\n";
        let m1 = MeshTrustDomains { trust_domain: Some("m1.example".into()), aliases: Vec::new() };
        assert_eq!(parse_mesh(mesh), Ok(m1.clone()));
        assert_eq!(parse_mesh("trust_domain: m1.example"), Ok(m1));
        assert_eq!(parse_mesh("accessLogFile: /dev/stdout"), Ok(MeshTrustDomains::default()));
        assert_eq!(parse_trust_domains(&ConfigMap::default()), Ok(MeshTrustDomains::default()));
    }

    #[test]
    fn aliases_are_read_in_both_spellings() {
        let aliases = ["two.example".to_owned(), "old.example".to_owned()];
        for key in ["trustDomainAliases", "trust_domain_aliases"] {
            let trust =
                parse_mesh(&format!("{key}: [two.example, old.example]\ntrustDomain: m1.example\n")).unwrap();
            assert_eq!(
                (trust.trust_domain.as_deref(), trust.aliases),
                (Some("m1.example"), aliases.to_vec())
            );
        }
        assert_eq!(parse_mesh("trustDomainAliases:"), Ok(MeshTrustDomains::default()));
        assert!(parse_mesh("trustDomainAliases: two.example").is_err());
    }

    #[test]
    fn an_unreadable_config_differs_from_an_empty_one() {
        assert!(parse_mesh("{{{").is_err());
        assert!(parse_mesh("trustDomain: 'not a name'").is_err());
    }

    #[test]
    fn each_revision_has_its_own_config_map() {
        assert_eq!(
            (config_map_name(None), config_map_name(Some("default")), config_map_name(Some("canary"))),
            ("istio".into(), "istio".into(), "istio-canary".into())
        );
    }
}
