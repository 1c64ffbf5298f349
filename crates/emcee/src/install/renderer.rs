//! Renders one description of an installation in two forms: objects for one cluster, or templates of a Helm chart.

use serde_json::Value;

use super::Installation;

/// Target form of the description.
pub(super) enum Renderer<'a> {
    /// The objects of this installation.
    Plain(&'a Installation),
    /// Templates of objects. A string that begins with `{{-` becomes a line of its own, between objects or in a list. A
    /// string that begins with `{{ toJson` becomes a value of any type.
    Chart,
}

/// A list of namespaces in the settings of an installation.
#[derive(Clone, Copy, Debug)]
pub(super) enum NamespaceList {
    /// Namespaces that Emcee watches.
    Watched,
    /// Namespaces of relationships.
    Fed,
    /// Additional namespaces with gateway pods.
    Gateways,
    /// The other three lists together: all namespaces that may contain resources, services or generated objects.
    Combined,
}

/// Condition for rendering a part of the description.
#[derive(Clone, Copy, Debug)]
pub(super) enum RenderCondition {
    /// The list contains `*`, which means all namespaces.
    All(NamespaceList),
    /// The list names single namespaces or is empty.
    NotAll(NamespaceList),
    /// The list is not empty.
    NotEmpty(NamespaceList),
    /// A revision of Istio is set.
    Revision,
    /// The cluster's networks are set.
    Networks,
    /// The rules of `emcee-user` are added to Kubernetes' roles.
    AggregateUserRole,
    /// The admission webhook is on.
    Webhook,
    /// Discovery is on.
    Discovery,
}

impl Renderer<'_> {
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
            Self::Plain(_) => super::values::default_resources(),
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
    pub(super) fn joined_namespaces(&self, list: NamespaceList) -> String {
        match self {
            Self::Plain(installation) => installation.namespaces_in(list).join(","),
            Self::Chart => format!("{{{{ join `,` {} }}}}", values_expression(list)),
        }
    }

    /// Returns the items if the condition is satisfied. In a chart, returns them within an `if` block.
    pub(super) fn only_if(&self, condition: RenderCondition, items: Vec<Value>) -> Vec<Value> {
        match self {
            Self::Plain(installation) if installation.satisfies(condition) => items,
            Self::Plain(_) => Vec::new(),
            Self::Chart => {
                let test = match condition {
                    RenderCondition::All(list) => contains_all_expression(list),
                    RenderCondition::NotAll(list) => format!("not ({})", contains_all_expression(list)),
                    RenderCondition::NotEmpty(list) => values_expression(list).to_owned(),
                    RenderCondition::Revision => "$.Values.revision".to_owned(),
                    RenderCondition::Networks => "$.Values.clusterNetworks".to_owned(),
                    RenderCondition::AggregateUserRole => "$.Values.aggregateUserRole".to_owned(),
                    RenderCondition::Webhook => "$.Values.webhook.enabled".to_owned(),
                    RenderCondition::Discovery => "$.Values.discovery.enabled".to_owned(),
                };
                wrap_in_block(&format!("{{{{- if {test} }}}}"), items)
            }
        }
    }

    /// Returns one item for each namespace of a list that does not contain `*`. In a chart, returns a `range` block.
    pub(super) fn for_each_namespace(&self, list: NamespaceList, item: impl Fn(&str) -> Value) -> Vec<Value> {
        match self {
            Self::Plain(installation) => {
                installation.namespaces_in(list).iter().map(|name| item(name)).collect()
            }
            Self::Chart => {
                wrap_in_block(&format!("{{{{- range {} }}}}", values_expression(list)), vec![item("{{ . }}")])
            }
        }
    }
}

impl Installation {
    fn namespaces_in(&self, list: NamespaceList) -> Vec<String> {
        match list {
            NamespaceList::Watched => self.watch_namespaces.clone(),
            NamespaceList::Fed => self.fed_namespaces.clone(),
            NamespaceList::Gateways => self.gateway_namespaces.clone(),
            NamespaceList::Combined => {
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

    fn satisfies(&self, condition: RenderCondition) -> bool {
        match condition {
            // The combined list leaves out `*`. It covers all namespaces if Emcee watches all.
            RenderCondition::All(NamespaceList::Combined) => {
                self.satisfies(RenderCondition::All(NamespaceList::Watched))
            }
            RenderCondition::All(list) => self.namespaces_in(list).iter().any(|name| name == "*"),
            RenderCondition::NotAll(list) => !self.satisfies(RenderCondition::All(list)),
            RenderCondition::NotEmpty(list) => !self.namespaces_in(list).is_empty(),
            RenderCondition::Revision => self.revision.is_some(),
            RenderCondition::Networks => !self.cluster_networks.is_empty(),
            RenderCondition::AggregateUserRole => self.aggregate_user_role,
            RenderCondition::Webhook => self.webhook,
            RenderCondition::Discovery => self.discovery,
        }
    }
}

/// Returns the template expression for a list. It contains no double quotes, because YAML would escape them.
fn values_expression(list: NamespaceList) -> &'static str {
    match list {
        NamespaceList::Watched => "$.Values.watchNamespaces",
        NamespaceList::Fed => "$.Values.fedNamespaces",
        NamespaceList::Gateways => "$.Values.gatewayNamespaces",
        NamespaceList::Combined => {
            "without (concat $.Values.watchNamespaces $.Values.fedNamespaces $.Values.gatewayNamespaces | uniq | sortAlpha) `*`"
        }
    }
}

/// Returns the template expression that tests whether a list means all namespaces.
fn contains_all_expression(list: NamespaceList) -> String {
    match list {
        NamespaceList::Combined => contains_all_expression(NamespaceList::Watched),
        list => format!("has `*` {}", values_expression(list)),
    }
}

fn wrap_in_block(start: &str, items: Vec<Value>) -> Vec<Value> {
    [start.into()].into_iter().chain(items).chain(["{{- end }}".into()]).collect()
}
