//! The fields of users' own Istio objects that a translation uses.

use std::collections::BTreeMap;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, DestinationRule as Rule, MutualTls as ApiMutualTls, MutualTlsMode,
    PeerAuthentication as Policy, TrafficPolicy,
};

use crate::key::{ObjectKey, Precedence};
use crate::labels::Labels;

/// What a PeerAuthentication requires of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtlsRequirement {
    /// Callers must use mutual TLS.
    Strict,
    /// Plaintext is accepted as well.
    NotStrict,
}

/// A PeerAuthentication of a namespace or of workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAuthentication {
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// Its precedence. Of two policies with the same scope, Istio uses the older.
    pub age: Precedence,
    /// Labels of the workloads to which it applies. `None`: it applies to all of its namespace.
    pub selector: Option<Labels>,
    /// The requirement for all ports. `None`: it is inherited from the wider policy.
    pub mode: Option<MtlsRequirement>,
    /// Requirements for single ports of the workload.
    pub port_modes: BTreeMap<u32, MtlsRequirement>,
}

impl PeerAuthentication {
    /// Reads the fields of a PeerAuthentication.
    pub fn from_object(object: &Policy) -> Self {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let key = ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default());
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let selector = object.spec.selector.as_ref().map(|selector| Labels::from(&selector.match_labels));
        Self {
            age: Precedence::new(created, metadata.uid.as_deref(), key.clone()),
            key,
            // Istio treats an empty selector like none.
            selector: selector.filter(|labels| !labels.is_empty()),
            mode: object.spec.mtls.as_ref().and_then(mtls_requirement),
            port_modes: object
                .spec
                .port_level_mtls
                .iter()
                .filter_map(|(port, mtls)| Some((*port, mtls_requirement(mtls)?)))
                .collect(),
        }
    }
}

/// Converts a mode. `None` means that it is inherited. A mode that this build does not know counts as not strict, as
/// it must not be trusted.
fn mtls_requirement(mtls: &ApiMutualTls) -> Option<MtlsRequirement> {
    match MutualTlsMode::try_from(mtls.mode) {
        Ok(MutualTlsMode::Unset) => None,
        Ok(MutualTlsMode::Strict) => Some(MtlsRequirement::Strict),
        _ => Some(MtlsRequirement::NotStrict),
    }
}

/// A user's DestinationRule: the subsets that it defines for a host, and whether it sets TLS for clients.
#[derive(Clone, Debug, PartialEq)]
pub struct UserDestinationRule {
    /// Namespace and name of the DestinationRule.
    pub key: ObjectKey,
    /// The host: fully qualified, or a wildcard.
    pub host: String,
    /// Namespaces to which the rule is exported. Empty: the mesh's default.
    pub export_to: Vec<String>,
    /// Labels of the pods of each subset, by its name.
    pub subset_labels: BTreeMap<String, Labels>,
    /// Whether the rule selects clients of its own namespace (`workloadSelector`).
    pub selects_clients: bool,
    /// Path of the field that makes clients use a credential, or a TLS mode other than `DISABLE` and `ISTIO_MUTUAL`.
    /// `None` if no field does.
    pub custom_tls_field: Option<Box<str>>,
}

impl UserDestinationRule {
    /// Reads a DestinationRule. The caller leaves out those that Emcee generated.
    pub fn from_object(object: &Rule, cluster_domain: &str) -> Self {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        Self {
            key: ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default()),
            host: qualify_host(&object.spec.host, namespace, cluster_domain),
            export_to: object.spec.export_to.clone(),
            subset_labels: object
                .spec
                .subsets
                .iter()
                .map(|subset| (subset.name.clone(), Labels::from(&subset.labels)))
                .collect(),
            selects_clients: object.spec.workload_selector.is_some(),
            custom_tls_field: find_custom_tls(object).map(String::into_boxed_str),
        }
    }
}

fn find_custom_tls(rule: &Rule) -> Option<String> {
    let spec = &rule.spec;
    let of_all = spec.traffic_policy.iter().map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let of_subsets = spec.subsets.iter().enumerate().filter_map(|(index, subset)| {
        Some((format!("spec.subsets[{index}].trafficPolicy"), subset.traffic_policy.as_ref()?))
    });
    of_all.chain(of_subsets).find_map(|(field, policy)| find_custom_tls_in_policy(&field, policy))
}

/// Returns the first field of a traffic policy that sets custom TLS. Settings for single ports override the policy's
/// own, so both count.
fn find_custom_tls_in_policy(field: &str, policy: &TrafficPolicy) -> Option<String> {
    let of_ports = policy.port_level_settings.iter().enumerate().filter_map(|(index, port)| {
        Some((format!("{field}.portLevelSettings[{index}].tls"), port.tls.as_ref()?))
    });
    let of_all = policy.tls.iter().map(|tls| (format!("{field}.tls"), tls));
    of_all.chain(of_ports).find(|(_, tls)| is_custom_tls(tls)).map(|(field, _)| field)
}

/// Returns whether clients use a credential or unusual TLS. A mode that this build does not know counts, as it must
/// not be trusted.
fn is_custom_tls(tls: &ClientTls) -> bool {
    let known = matches!(tls.mode(), ClientTlsMode::Disable | ClientTlsMode::IstioMutual);
    !known || !tls.credential_name.is_empty()
}

/// Returns the fully qualified host of a rule. Istio reads a host without dots as a Service of the rule's namespace.
fn qualify_host(host: &str, namespace: &str, cluster_domain: &str) -> String {
    if host.contains('.') || host == "*" {
        host.to_owned()
    } else {
        crate::names::service_host(host, namespace, cluster_domain)
    }
}
