//! Labels and annotations that Emcee reads and writes.

use std::collections::BTreeMap;

/// Label of every object that Emcee generates, with the value [`MANAGED_BY_EMCEE`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of the label [`MANAGED_BY`].
pub const MANAGED_BY_EMCEE: &str = "emcee";
/// Kind of the owner: one of the three resources, or `Facade`.
pub const OWNER_KIND: &str = "emcee.io/owner-kind";
/// Namespace of the owner.
pub const OWNER_NAMESPACE: &str = "emcee.io/owner-namespace";
/// Name of the owner, or a hash of it if the name is too long for a label value (63 characters).
pub const OWNER_NAME: &str = "emcee.io/owner-name";
/// MeshFedConfig of the object, as `<namespace>.<name>`, or a hash of that if it is too long for a label
/// value.
pub const MESH_FED_CONFIG: &str = "emcee.io/mesh-fed-config";
/// Label of the endpoints in the ServiceEntry of a host that bindings share: the subset of their binding.
pub const BINDING: &str = "emcee.io/binding";
/// Annotation of a ServiceBinding, with the value [`OWN_HOST_ENABLED`]: it has the binding host for itself, so that users'
/// own routes can name it.
pub const OWN_HOST: &str = "emcee.io/own-host";
/// Value of the annotation [`OWN_HOST`].
pub const OWN_HOST_ENABLED: &str = "true";
/// The only label of gateway pods that Emcee creates. Its value is unique to a gateway in the cluster.
pub const GATEWAY: &str = "emcee.io/gateway";
/// Label by which expositions and bindings select a MeshFedConfig. A MeshFedConfig without it counts as
/// labelled with its own name.
pub const FED_CONFIG: &str = "fed-config";
/// On a Service: exposes each of its ports through the MeshFedConfig of this name, or, with
/// [`EXPOSE_THE_ONLY_ONE`], through the only MeshFedConfig of the cluster.
pub const EXPOSE: &str = "emcee.io/expose";
/// Value of [`EXPOSE`] that does not name a MeshFedConfig.
pub const EXPOSE_THE_ONLY_ONE: &str = "true";
/// On a Service with [`EXPOSE`]: the name under which peers know it, `[<MeshFedConfig>:]<alias>`. An
/// annotation or a label. A label cannot contain the colon.
pub const EXPOSE_AS: &str = "emcee.io/exposeAs";
/// On a Service in a fed namespace, with the value [`DISCOVERY_SERVER`]: the Service points to the Emcee of a
/// peer.
pub const DISCOVERY: &str = "emcee";
/// Value of the label [`DISCOVERY`].
pub const DISCOVERY_SERVER: &str = "discovery";
/// On a Service with [`DISCOVERY`]: the name of the peer, as a label or an annotation. Required if there are
/// several peers.
pub const PEER: &str = "emcee.io/peer";
/// Kubernetes label of an EndpointSlice: the name of its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of an EndpointSlice in an exported bundle: the name under which the service is exposed. It is not
/// [`SERVICE_NAME`], so that no cluster takes the slice for one of its own Services.
pub const BUNDLE_SERVICE_NAME: &str = "emcee.io/service-name";
/// Annotation of the objects of an exported bundle, and of bindings that are imported from it: when the bundle was
/// exported.
pub const EXPORTED_AT: &str = "emcee.io/exported-at";
/// Istio annotation: the namespaces that see a Service.
pub const ISTIO_EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Istio annotation: messages that `istioctl analyze` does not report for an object.
pub const ISTIO_ANALYZE_SUPPRESS: &str = "galley.istio.io/analyze-suppress";
/// Istio label: the revision of the control plane.
pub const ISTIO_REVISION: &str = "istio.io/rev";

/// Returns whether labels contain [`MANAGED_BY`] with Emcee's value. Anyone can copy a label: where the API server
/// records who applied an object, that decides.
pub fn is_managed_by_emcee(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGED_BY_EMCEE)
}
