//! Whether a workload's port takes nothing but mTLS.
//!
//! In the end-to-end styles bytes of strangers are passed to it unread: under PERMISSIVE the application would
//! execute them.

use std::collections::BTreeSet;

use emcee_api::Reason;

use crate::inputs::{Knowledge, MutualTls, PeerAuthentication, Workload};
use crate::labels::Labels;
use crate::problem::Problem;
use crate::resolve::View;

/// Refuses a service whose pods take plaintext on the port, or have no sidecar. `selector` stands for pods that are
/// not known.
pub(crate) fn check(
    view: &View<'_>,
    namespace: &str,
    selector: &Labels,
    pods: &[&Workload],
    port: u16,
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    if let Some(pod) = pods.iter().find(|pod| pod.sidecar == Some(false)) {
        let message = format!(
            "pod {} has no sidecar to ask callers for a certificate (label its namespace istio-injection: enabled)",
            pod.key
        );
        return Err(Problem::at(Reason::NoSidecar, "spec.name", message));
    }
    if let Some(pod) = pods.iter().find(|pod| pod.bypasses_sidecar(port)) {
        let message = format!(
            "port {port} of pod {} bypasses its sidecar (take it out of the annotation that says so)",
            pod.key
        );
        return Err(Problem::at(Reason::NotStrict, "spec.name", message));
    }
    // Pods of one Deployment have the same labels: each set is judged once.
    let labels: BTreeSet<&Labels> = if pods.is_empty() {
        BTreeSet::from([selector])
    } else {
        pods.iter().map(|pod| &pod.labels).collect()
    };
    let policies = Policies::of(view, namespace);
    if pods.is_empty()
        && let Some(policy) = policies.may_loosen(selector, port.into())
    {
        let message = format!(
            "PeerAuthentication {} takes plaintext on port {port} of pods that may be this Service's (add its Deployment to the files, or have that policy ask for STRICT)",
            policy.key
        );
        return Err(Problem::at(Reason::NotStrict, "spec.name", message));
    }
    for labels in labels {
        match policies.effective(labels, port.into()) {
            Some(MutualTls::Strict) => {}
            None if view.settings().knowledge == Knowledge::Partial => {
                let message = format!(
                    "no PeerAuthentication for {namespace} is among the files: mTLS is assumed to be STRICT"
                );
                warnings.push(Problem::at(Reason::Assumed, "spec.name", message));
            }
            Some(MutualTls::NotStrict) | None => {
                let message = format!(
                    "port {port} takes plaintext too, which strangers could send through the gateway (have a PeerAuthentication with mtls.mode STRICT for it)"
                );
                return Err(Problem::at(Reason::NotStrict, "spec.name", message));
            }
        }
    }
    Ok(())
}

/// Policies of a namespace and of the mesh, each list with the oldest first.
struct Policies<'a> {
    workload: Vec<&'a PeerAuthentication>,
    namespace: Vec<&'a PeerAuthentication>,
    mesh: Vec<&'a PeerAuthentication>,
}

impl<'a> Policies<'a> {
    fn of(view: &View<'a>, namespace: &str) -> Self {
        let oldest_first = |mut policies: Vec<&'a PeerAuthentication>| {
            policies.sort_by(|a, b| a.age.cmp(&b.age));
            policies
        };
        let (workload, wide): (Vec<_>, Vec<_>) =
            view.peer_authentications_in(namespace).partition(|policy| policy.selector.is_some());
        let root = &view.settings().root_namespace;
        // In the root namespace Istio takes no policy with a selector (`ComposePeerAuthentication`).
        let workload = if namespace == *root { Vec::new() } else { workload };
        let mesh = view.peer_authentications_in(root).filter(|policy| policy.selector.is_none()).collect();
        Self { workload: oldest_first(workload), namespace: oldest_first(wide), mesh: oldest_first(mesh) }
    }

    /// A policy that takes plaintext from some pods that a selector may select: no label of the one contradicts the
    /// other.
    fn may_loosen(&self, selector: &Labels, port: u32) -> Option<&'a PeerAuthentication> {
        let compatible = |policy: &PeerAuthentication| {
            policy
                .selector
                .iter()
                .flat_map(Labels::iter)
                .all(|(key, value)| selector.get(key).is_none_or(|own| own == value))
        };
        let loose = |policy: &PeerAuthentication| {
            let mode = policy.port_modes.get(&port).copied().or(policy.mode);
            mode == Some(MutualTls::NotStrict)
        };
        self.workload.iter().copied().find(|policy| compatible(policy) && loose(policy))
    }

    /// The narrowest policy that says something; of two of the same reach the older.
    fn effective(&self, labels: &Labels, port: u32) -> Option<MutualTls> {
        let selects = |policy: &&&PeerAuthentication| {
            policy.selector.as_ref().is_none_or(|selector| labels.has_all(selector))
        };
        let narrow = self.workload.iter().find(selects);
        let of_port = narrow.and_then(|policy| policy.port_modes.get(&port).copied());
        let wide =
            [self.namespace.first(), self.mesh.first()].into_iter().flatten().find_map(|policy| policy.mode);
        of_port.or_else(|| narrow.and_then(|policy| policy.mode)).or(wide)
    }
}
