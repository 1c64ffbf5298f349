//! One description of an installation, in two forms: for one cluster, and as the templates of a chart.

use serde_json::Value;

use super::Installation;

/// A form.
pub(super) enum Form<'a> {
    /// The objects of this installation.
    Plain(&'a Installation),
    /// The templates of objects. A string that begins with `{{-` is a line of its own, among objects or in a list; one
    /// that begins with `{{ toJson` becomes a value that need not be a string.
    Chart,
}

/// Namespaces that an installation names.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    /// Where resources are followed.
    Watched,
    /// Of relationships.
    Fed,
    /// Of gateways, besides.
    Gateways,
    /// Where resources, services and generated objects may be.
    Everywhere,
}

/// When something is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    /// A list is of all namespaces.
    All(List),
    /// A list is of some namespaces, or none.
    Some(List),
    /// A list is not empty.
    Any(List),
    /// A revision of Istio is chosen.
    Revision,
    /// The cluster's own networks are given.
    Networks,
    /// Resources are checked when they are applied.
    Webhook,
    /// Meshes tell each other what they offer.
    Discovery,
}

impl Form<'_> {
    /// Namespace of Emcee itself.
    pub(super) fn namespace(&self) -> String {
        match self {
            Self::Plain(installation) => installation.namespace.clone(),
            Self::Chart => "{{ $.Release.Namespace }}".to_owned(),
        }
    }

    /// Image of the container.
    pub(super) fn image(&self) -> String {
        match self {
            Self::Plain(installation) => installation.image.clone(),
            Self::Chart => "{{ $.Values.image }}".to_owned(),
        }
    }

    /// Number of replicas.
    pub(super) fn replicas(&self) -> Value {
        match self {
            Self::Plain(installation) => installation.replicas.into(),
            Self::Chart => "{{ toJson $.Values.replicas }}".into(),
        }
    }

    /// What the container may use.
    pub(super) fn resources(&self) -> Value {
        match self {
            Self::Plain(_) => super::values::resources(),
            Self::Chart => "{{ toJson $.Values.resources }}".into(),
        }
    }

    /// Type of the Service of discovery.
    pub(super) fn discovery_service_type(&self) -> String {
        match self {
            Self::Plain(installation) => installation.discovery_service_type.clone(),
            Self::Chart => "{{ $.Values.discovery.serviceType }}".to_owned(),
        }
    }

    /// Istio's root namespace.
    pub(super) fn root_namespace(&self) -> String {
        match self {
            Self::Plain(installation) => installation.root_namespace.clone(),
            Self::Chart => "{{ $.Values.rootNamespace }}".to_owned(),
        }
    }

    /// Istio's revision; only where [`Condition::Revision`] holds.
    pub(super) fn revision(&self) -> String {
        match self {
            Self::Plain(installation) => installation.revision.clone().unwrap_or_default(),
            Self::Chart => "{{ $.Values.revision }}".to_owned(),
        }
    }

    /// The cluster's own networks, as a flag takes them.
    pub(super) fn cluster_networks(&self) -> String {
        match self {
            Self::Plain(installation) => {
                let networks = installation.cluster_networks.iter().map(ToString::to_string);
                networks.collect::<Vec<_>>().join(",")
            }
            Self::Chart => "{{ join `,` $.Values.clusterNetworks }}".to_owned(),
        }
    }

    /// Name of the ConfigMap from which Istio of this revision reads the mesh's configuration.
    pub(super) fn mesh_config(&self) -> String {
        match self {
            Self::Plain(installation) => match installation.revision.as_deref() {
                None | Some("default") => "istio".to_owned(),
                Some(revision) => format!("istio-{revision}"),
            },
            Self::Chart => {
                "istio{{ if not (has $.Values.revision (list `` `default`)) }}-{{ $.Values.revision }}{{ end }}"
                    .to_owned()
            }
        }
    }

    /// The namespaces of a list, as a flag takes them.
    pub(super) fn joined(&self, list: List) -> String {
        match self {
            Self::Plain(installation) => installation.list(list).join(","),
            Self::Chart => format!("{{{{ join `,` {} }}}}", template(list)),
        }
    }

    /// These, if a condition holds.
    pub(super) fn when(&self, condition: Condition, items: Vec<Value>) -> Vec<Value> {
        match self {
            Self::Plain(installation) if installation.holds(condition) => items,
            Self::Plain(_) => Vec::new(),
            Self::Chart => {
                let test = match condition {
                    Condition::All(list) => is_all(list),
                    Condition::Some(list) => format!("not ({})", is_all(list)),
                    Condition::Any(list) => template(list).to_owned(),
                    Condition::Revision => "$.Values.revision".to_owned(),
                    Condition::Networks => "$.Values.clusterNetworks".to_owned(),
                    Condition::Webhook => "$.Values.webhook.enabled".to_owned(),
                    Condition::Discovery => "$.Values.discovery.enabled".to_owned(),
                };
                between(&format!("{{{{- if {test} }}}}"), items)
            }
        }
    }

    /// One for each namespace of a list that is not of all.
    pub(super) fn each(&self, list: List, item: impl Fn(&str) -> Value) -> Vec<Value> {
        match self {
            Self::Plain(installation) => installation.list(list).iter().map(|name| item(name)).collect(),
            Self::Chart => between(&format!("{{{{- range {} }}}}", template(list)), vec![item("{{ . }}")]),
        }
    }
}

impl Installation {
    fn list(&self, list: List) -> Vec<String> {
        match list {
            List::Watched => self.watch_namespaces.clone(),
            List::Fed => self.fed_namespaces.clone(),
            List::Gateways => self.gateway_namespaces.clone(),
            List::Everywhere => {
                let lists = [&self.watch_namespaces, &self.fed_namespaces, &self.gateway_namespaces];
                let mut all: Vec<_> =
                    lists.into_iter().flatten().filter(|name| *name != "*").cloned().collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        }
    }

    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::All(List::Everywhere) => self.holds(Condition::All(List::Watched)),
            Condition::All(list) => self.list(list).iter().any(|name| name == "*"),
            Condition::Some(list) => !self.holds(Condition::All(list)),
            Condition::Any(list) => !self.list(list).is_empty(),
            Condition::Revision => self.revision.is_some(),
            Condition::Networks => !self.cluster_networks.is_empty(),
            Condition::Webhook => self.webhook,
            Condition::Discovery => self.discovery,
        }
    }
}

/// A list, in the language of templates; without double quotes, which YAML would escape.
fn template(list: List) -> &'static str {
    match list {
        List::Watched => "$.Values.watchNamespaces",
        List::Fed => "$.Values.fedNamespaces",
        List::Gateways => "$.Values.gatewayNamespaces",
        List::Everywhere => {
            "without (concat $.Values.watchNamespaces $.Values.fedNamespaces $.Values.gatewayNamespaces | uniq | sortAlpha) `*`"
        }
    }
}

fn is_all(list: List) -> String {
    match list {
        List::Everywhere => is_all(List::Watched),
        list => format!("has `*` {}", template(list)),
    }
}

fn between(start: &str, items: Vec<Value>) -> Vec<Value> {
    [start.into()].into_iter().chain(items).chain(["{{- end }}".into()]).collect()
}
