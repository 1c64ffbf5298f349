//! The watches: which kinds are watched, and in which namespaces.

pub(crate) mod failures;
mod follow;
mod inbox;
mod relist;

use std::fmt;

use emcee_api::labels::{MANAGED_BY, MANAGED_BY_EMCEE};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::{PartialObjectMeta, Resource};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument as _, info_span};

use crate::convert::{self, WatchUpdate};
use crate::kinds::{UserKind, generated_api_resource, user_api_resource};
use crate::mesh_config;
use crate::object::RelistScope;
use crate::options::{ControllerOptions, Namespaces};
use follow::{KIND_MISSING, ObjectConverter, follow_watch};
pub(crate) use follow::{WatchEvent, WatchEventKind};
#[cfg(test)]
pub(crate) use inbox::SYNC_TIMEOUT;
pub(crate) use inbox::{Failures, WatchInbox, WatchSetKind};
use relist::RelistTracker;

/// Identifies a watch in messages.
#[derive(Clone, Debug)]
pub(crate) struct WatchSource {
    kind: &'static str,
    namespace: Option<String>,
}

impl WatchSource {
    /// Returns the kind that is watched.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }
}

impl fmt::Display for WatchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "watch of {} in namespace {namespace}", self.kind),
            None => write!(f, "watch of {}", self.kind),
        }
    }
}

/// A set of running watches. Dropping it ends them.
pub(crate) struct WatchSet {
    client: Client,
    out: mpsc::Sender<WatchEvent>,
    sources: Vec<WatchSource>,
    tasks: JoinSet<()>,
}

impl WatchSet {
    fn new(client: &Client, out: &mpsc::Sender<WatchEvent>) -> Self {
        let tasks = JoinSet::new();
        Self { client: client.clone(), out: out.clone(), sources: Vec::new(), tasks }
    }

    /// Starts the watches of everything that is translated.
    pub(crate) fn for_inputs(
        client: &Client,
        options: &ControllerOptions,
        out: &mpsc::Sender<WatchEvent>,
    ) -> Self {
        let mut watches = Self::new(client, out);
        let (everywhere, all) = (options.scope.all_namespaces(), Config::default());
        for kind in UserKind::ALL {
            let resource = user_api_resource(kind);
            watches.follow_dynamic(resource, &everywhere, &all, None, move |key, object| {
                Some(convert::resource_update(kind, key, object))
            });
        }
        // The API server filters: other Secrets are not sent.
        let tls = Config::default().fields("type=kubernetes.io/tls");
        watches.follow_typed::<Secret>(&options.scope.secret_namespaces(), &tls, convert::secret_update);
        watches.follow_secret_names(&options.scope.secret_namespaces());
        watches.follow_typed::<Service>(&everywhere, &all, convert::service_update);
        watches.follow_typed::<EndpointSlice>(&everywhere, &all, convert::endpoint_slice_update);
        watches.follow_typed::<Pod>(&everywhere, &all, convert::pod_update);
        watches.follow_typed::<Deployment>(&everywhere, &all, convert::deployment_update);
        let entries = istio_api_resource("networking.istio.io", "WorkloadEntry", "workloadentries");
        watches.follow_dynamic(entries, &everywhere, &all, None, |key, object| {
            Some(convert::workload_entry_update(key, object))
        });
        watches.follow_cluster_scoped(&everywhere);
        watches.follow_istio_config(options, &everywhere);
        watches
    }

    /// Starts the watches of everything that Emcee has written.
    pub(crate) fn for_generated(
        client: &Client,
        options: &ControllerOptions,
        out: &mpsc::Sender<WatchEvent>,
    ) -> Self {
        let mut watches = Self::new(client, out);
        let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_EMCEE}"));
        for kind in GeneratedKind::ALL {
            let namespaces = match kind {
                // As in the generated RBAC: a watch without permission would never complete its list.
                GeneratedKind::Secret => options.scope.secret_namespaces(),
                kind if kind.holds_keys() => options.scope.fed.clone(),
                _ => options.scope.all_namespaces(),
            };
            watches.follow_dynamic(
                generated_api_resource(kind),
                &namespaces,
                &ours,
                Some(kind),
                move |key, object| Some(convert::live_update(kind, key, object)),
            );
        }
        watches
    }

    /// Returns the watches in the order of their numbers.
    pub(crate) fn sources(&self) -> &[WatchSource] {
        &self.sources
    }

    /// Watches Nodes and Namespaces. These are cluster-scoped: without access to all namespaces, Emcee may
    /// not read them.
    fn follow_cluster_scoped(&mut self, namespaces: &Namespaces) {
        if !matches!(namespaces, Namespaces::All) {
            return;
        }
        self.follow_cluster_kind::<Node>(convert::node_update);
        self.follow_cluster_kind::<Namespace>(convert::namespace_update);
    }

    fn follow_cluster_kind<K>(&mut self, read: fn(&str, Option<&K>) -> WatchUpdate)
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + k8s_openapi::Resource,
        K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        let source = WatchSource { kind: K::KIND, namespace: None };
        let read = move |key: &ObjectKey, object: Option<K>| Some(read(&key.name, object.as_ref()));
        self.spawn_watch(
            Api::<K>::all(self.client.clone()),
            Config::default(),
            source,
            RelistTracker::tracking(),
            read,
        );
    }

    fn follow_istio_config(&mut self, options: &ControllerOptions, namespaces: &Namespaces) {
        let mut namespaces = namespaces.clone();
        if let Namespaces::Only(names) = &mut namespaces {
            // What the root namespace contains applies to the whole mesh.
            names.insert(options.root_namespace.clone());
        }
        let all = Config::default();
        let root = Namespaces::from_names(&[&options.root_namespace]);
        let mesh = format!("metadata.name={}", mesh_config::config_map_name(options.revision.as_deref()));
        self.follow_typed::<ConfigMap>(&root, &Config::default().fields(&mesh), convert::mesh_update);
        // One name, so that the many other ConfigMaps are neither sent nor kept.
        let roots = Config::default().fields(&format!("metadata.name={}", mesh_config::ROOT_CERT_CONFIG_MAP));
        self.follow_typed::<ConfigMap>(&root, &roots, |_, object| convert::root_hash_update(object));
        let policies = istio_api_resource("security.istio.io", "PeerAuthentication", "peerauthentications");
        self.follow_dynamic(policies, &namespaces, &all, None, |key, object| {
            Some(convert::peer_authentication_update(key, object))
        });
        let domain = options.cluster_domain.clone();
        let rules = generated_api_resource(GeneratedKind::DestinationRule);
        self.follow_dynamic(rules, &namespaces, &all, None, move |key, object| {
            convert::destination_rule_update(&domain, key, object)
        });
    }

    fn follow_typed<K>(
        &mut self,
        namespaces: &Namespaces,
        config: &Config,
        read: fn(&ObjectKey, Option<&K>) -> WatchUpdate,
    ) where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + k8s_openapi::Resource,
        K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        for namespace in namespaces.watch_namespaces() {
            let api = match &namespace {
                Some(namespace) => Api::<K>::namespaced(self.client.clone(), namespace),
                None => Api::<K>::all(self.client.clone()),
            };
            let read = move |key: &ObjectKey, object: Option<K>| Some(read(key, object.as_ref()));
            self.spawn_watch(
                api,
                config.clone(),
                WatchSource { kind: K::KIND, namespace },
                RelistTracker::tracking(),
                read,
            );
        }
    }

    /// Watches all Secrets by name. Of types other than TLS only the name matters, so only metadata is
    /// requested.
    fn follow_secret_names(&mut self, namespaces: &Namespaces) {
        for namespace in namespaces.watch_namespaces() {
            let api = match &namespace {
                Some(namespace) => Api::namespaced(self.client.clone(), namespace),
                None => Api::all(self.client.clone()),
            };
            let source = WatchSource { kind: <Secret as k8s_openapi::Resource>::KIND, namespace };
            let read = |key: &ObjectKey, object: Option<PartialObjectMeta<Secret>>| {
                convert::ca_secret_update(key, object.is_some())
            };
            self.spawn_watch(api, Config::default(), source, RelistTracker::tracking(), read);
        }
    }

    /// Watches a kind dynamically. `kept` is the kind of the objects if the receiver of the updates tracks
    /// relists itself.
    fn follow_dynamic(
        &mut self,
        (name, resource): (&'static str, ApiResource),
        namespaces: &Namespaces,
        config: &Config,
        kept: Option<GeneratedKind>,
        read: impl ObjectConverter<DynamicObject> + Clone,
    ) {
        for namespace in namespaces.watch_namespaces() {
            let client = self.client.clone();
            let api = match &namespace {
                Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, &resource),
                None => Api::<DynamicObject>::all_with(client, &resource),
            };
            let list = |kind| RelistScope { kind, namespace: namespace.clone() };
            let memory = kept.map(list).map_or_else(RelistTracker::tracking, RelistTracker::delegating);
            self.spawn_watch(
                api,
                config.clone(),
                WatchSource { kind: name, namespace },
                memory,
                read.clone(),
            );
        }
    }

    fn spawn_watch<K>(
        &mut self,
        api: Api<K>,
        config: Config,
        source: WatchSource,
        memory: RelistTracker,
        read: impl ObjectConverter<K>,
    ) where
        K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        let number = self.sources.len();
        let span = info_span!("watch", kind = source.kind, namespace = source.namespace);
        self.sources.push(source);
        let watch = follow_watch(api, config, number, memory, read, self.out.clone());
        self.tasks.spawn(watch.instrument(span));
    }
}

fn istio_api_resource(group: &str, kind: &'static str, plural: &str) -> (&'static str, ApiResource) {
    (kind, ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural))
}
