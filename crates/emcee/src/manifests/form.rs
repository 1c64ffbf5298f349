//! Renders one description of an installation in two forms: objects for one cluster, or templates of a Helm chart.

use serde_json::Value;

use super::Installation;

/// Target form of the description.
pub(super) enum Form<'a> {
    /// The objects of this installation.
    Plain(&'a Installation),
    /// Templates of objects. A string that begins with `{{-` becomes a line of its own, between objects or in a list. A
    /// string that begins with `{{ toJson` becomes a value of any type.
    Chart,
}

/// A list of namespaces in the settings of an installation.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    /// Namespaces that Emcee watches.
    Watched,
    /// Namespaces of relationships.
    Fed,
    /// Additional namespaces with gateway pods.
    Gateways,
    /// The other three lists together: all namespaces that may contain resources, services or generated objects.
    Everywhere,
}

/// Condition for rendering a part of the description.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    /// The list contains `*`, which means all namespaces.
    All(List),
    /// The list names single namespaces or is empty.
    Some(List),
    /// The list is not empty.
    Any(List),
    /// A revision of Istio is set.
    Revision,
    /// The cluster's networks are set.
    Networks,
    /// The admission webhook is on.
    Webhook,
    /// Discovery is on.
    Discovery,
}

impl Form<'_> {
    /// Namespace in which Emcee runs.
    pub(super) fn namespace(&self) -> String {
        match self {
            Self::Plain(installation) => installation.namespace.clone(),
            Self::Chart => "{{ $.Release.Namespace }}".to_owned(),
        }
    }

    /// Image of Emcee's container.
    pub(super) fn image(&self) -> String {
        match self {
            Self::Plain(installation) => installation.image.clone(),
            Self::Chart => "{{ $.Values.image }}".to_owned(),
        }
    }

    /// Number of Emcee's replicas.
    pub(super) fn replicas(&self) -> Value {
        match self {
            Self::Plain(installation) => installation.replicas.into(),
            Self::Chart => "{{ toJson $.Values.replicas }}".into(),
        }
    }

    /// Resource requests and limits of the container.
    pub(super) fn resources(&self) -> Value {
        match self {
            Self::Plain(_) => super::values::resources(),
            Self::Chart => "{{ toJson $.Values.resources }}".into(),
        }
    }

    /// Type of the discovery Service.
    pub(super) fn discovery_service_type(&self) -> String {
        match self {
            Self::Plain(installation) => installation.discovery_service_type.clone(),
            Self::Chart => "{{ $.Values.discovery.serviceType }}".to_owned(),
        }
    }

    /// Root namespace of Istio's mesh configuration.
    pub(super) fn root_namespace(&self) -> String {
        match self {
            Self::Plain(installation) => installation.root_namespace.clone(),
            Self::Chart => "{{ $.Values.rootNamespace }}".to_owned(),
        }
    }

    /// Istio's revision. It is empty unless [`RenderCondition::Revision`] is satisfied.
    pub(super) fn revision(&self) -> String {
        match self {
            Self::Plain(installation) => installation.revision.clone().unwrap_or_default(),
            Self::Chart => "{{ $.Values.revision }}".to_owned(),
        }
    }

    /// The cluster's networks, separated by commas as in a flag.
    pub(super) fn cluster_networks(&self) -> String {
        match self {
            Self::Plain(installation) => {
                let networks = installation.cluster_networks.iter().map(ToString::to_string);
                networks.collect::<Vec<_>>().join(",")
            }
            Self::Chart => "{{ join `,` $.Values.clusterNetworks }}".to_owned(),
        }
    }

    /// Name of the ConfigMap that contains the mesh configuration of Istio's revision.
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

    /// The namespaces of a list, separated by commas as in a flag.
    pub(super) fn joined(&self, list: List) -> String {
        match self {
            Self::Plain(installation) => installation.list(list).join(","),
            Self::Chart => format!("{{{{ join `,` {} }}}}", template(list)),
        }
    }

    /// Returns the items if the condition is satisfied. In a chart, returns them within an `if` block.
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

    /// Returns one item for each namespace of a list that does not contain `*`. In a chart, returns a `range` block.
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
                // Sorted without duplicates, like `uniq | sortAlpha` in the chart.
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
            // The combined list leaves out `*`. It covers all namespaces if Emcee watches all.
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

/// Returns the template expression for a list. It contains no double quotes, because YAML would escape them.
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

/// Returns the template expression that tests whether a list means all namespaces.
fn is_all(list: List) -> String {
    match list {
        List::Everywhere => is_all(List::Watched),
        list => format!("has `*` {}", template(list)),
    }
}

fn between(start: &str, items: Vec<Value>) -> Vec<Value> {
    [start.into()].into_iter().chain(items).chain(["{{- end }}".into()]).collect()
}
