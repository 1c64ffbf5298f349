//! Check whether a workload's port accepts only mTLS.
//!
//! In the end-to-end styles the gateway forwards bytes of unauthenticated clients to the port unread. With
//! PERMISSIVE mTLS the application would process them as plaintext.

use std::collections::BTreeSet;

use emcee_api::Reason;

use crate::inputs::{InputCoverage, MtlsRequirement, PeerAuthentication, Workload};
use crate::labels::Labels;
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Refuses a service whose pods accept plaintext on the port, or have no sidecar. `selector` stands for pods
/// that are not known.
pub(crate) fn check(
    view: &InputView<'_>,
    namespace: &str,
    selector: &Labels,
    pods: &[&Workload],
    port: u16,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<(), ResourceProblem> {
    // `None` means unknown, as for the pods of a Deployment among files, and is not refused.
    if let Some(pod) = pods.iter().find(|pod| pod.has_sidecar == Some(false)) {
        let message = format!(
            "pod {} has no sidecar to ask callers for a certificate (label its namespace istio-injection: enabled)",
            pod.key
        );
        return Err(ResourceProblem::at_field(Reason::NoSidecar, "spec.name", message));
    }
    if let Some(pod) = pods.iter().find(|pod| pod.bypasses_sidecar(port)) {
        let message = format!(
            "port {port} of pod {} bypasses its sidecar (remove it from the pod's annotation that excludes it)",
            pod.key
        );
        return Err(ResourceProblem::at_field(Reason::NotStrict, "spec.name", message));
    }
    // Pods of one Deployment have the same labels, so each set of labels is checked once.
    let labels: BTreeSet<&Labels> = if pods.is_empty() {
        BTreeSet::from([selector])
    } else {
        pods.iter().map(|pod| &pod.labels).collect()
    };
    let policies = PeerAuthenticationPolicies::in_namespace(view, namespace);
    // Without the pods, their labels beyond the selector are unknown. A policy that could match them is
    // refused.
    if pods.is_empty()
        && let Some(policy) = policies.find_loosening(selector, port.into())
    {
        let message = format!(
            "PeerAuthentication {} takes plaintext on port {port} of pods that may be this Service's (add its Deployment to the files, or have that policy ask for STRICT)",
            policy.key
        );
        return Err(ResourceProblem::at_field(Reason::NotStrict, "spec.name", message));
    }
    for labels in labels {
        match policies.effective_mode(labels, port.into()) {
            Some(MtlsRequirement::Strict) => {}
            // In a cluster, no policy means PERMISSIVE.
            None if view.settings().coverage == InputCoverage::Partial => {
                let message = format!(
                    "no PeerAuthentication for {namespace} is among the files: mTLS is assumed to be STRICT"
                );
                warnings.push(ResourceProblem::at_field(Reason::Assumed, "spec.name", message));
            }
            Some(MtlsRequirement::NotStrict) | None => {
                let message = format!(
                    "port {port} takes plaintext too, which strangers could send through the gateway (have a PeerAuthentication with mtls.mode STRICT for it)"
                );
                return Err(ResourceProblem::at_field(Reason::NotStrict, "spec.name", message));
            }
        }
    }
    Ok(())
}

/// Policies that apply in a namespace, by their scope. Each list is ordered from the oldest.
struct PeerAuthenticationPolicies<'a> {
    workload: Vec<&'a PeerAuthentication>,
    namespace: Vec<&'a PeerAuthentication>,
    mesh: Vec<&'a PeerAuthentication>,
}

impl<'a> PeerAuthenticationPolicies<'a> {
    fn in_namespace(view: &InputView<'a>, namespace: &str) -> Self {
        let oldest_first = |mut policies: Vec<&'a PeerAuthentication>| {
            policies.sort_by(|a, b| a.age.cmp(&b.age));
            policies
        };
        let (workload, wide): (Vec<_>, Vec<_>) =
            view.peer_authentications_in(namespace).partition(|policy| policy.selector.is_some());
        let root = &view.settings().root_namespace;
        // In the root namespace Istio ignores policies with a selector (`ComposePeerAuthentication`).
        let workload = if namespace == *root { Vec::new() } else { workload };
        let mesh = view.peer_authentications_in(root).filter(|policy| policy.selector.is_none()).collect();
        Self { workload: oldest_first(workload), namespace: oldest_first(wide), mesh: oldest_first(mesh) }
    }

    /// Returns a policy that accepts plaintext and may select pods of the selector: none of its labels
    /// contradicts the selector.
    fn find_loosening(&self, selector: &Labels, port: u32) -> Option<&'a PeerAuthentication> {
        let compatible = |policy: &PeerAuthentication| {
            policy
                .selector
                .iter()
                .flat_map(Labels::iter)
                .all(|(key, value)| selector.get(key).is_none_or(|own| own == value))
        };
        let loose = |policy: &PeerAuthentication| {
            let mode = policy.port_modes.get(&port).copied().or(policy.mode);
            mode == Some(MtlsRequirement::NotStrict)
        };
        self.workload.iter().copied().find(|policy| compatible(policy) && loose(policy))
    }

    /// Returns the mode of the most specific policy that sets one. Among policies of the same scope, the
    /// oldest applies.
    fn effective_mode(&self, labels: &Labels, port: u32) -> Option<MtlsRequirement> {
        let selects = |policy: &&&PeerAuthentication| {
            policy.selector.as_ref().is_none_or(|selector| labels.has_all(selector))
        };
        let narrow = self.workload.iter().find(selects);
        // A port mode of the workload policy wins over its own mode, and that over namespace and mesh.
        let of_port = narrow.and_then(|policy| policy.port_modes.get(&port).copied());
        let wide =
            [self.namespace.first(), self.mesh.first()].into_iter().flatten().find_map(|policy| policy.mode);
        of_port.or_else(|| narrow.and_then(|policy| policy.mode)).or(wide)
    }
}
