//! The list of kinds that Emcee generates. RBAC, watches, pruning and MCP types are derived from it.

/// A kind that Emcee generates.
///
/// The order of the variants is the order of applying: an object comes after what it refers to. Keys and policies
/// come before what they protect, and a gateway's server after everything that it needs. A Service comes before its
/// VirtualService: if a facade's name turns out to belong to someone else, no traffic is routed away from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GeneratedKind {
    /// `v1 ServiceAccount`
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1 Role`
    Role,
    /// `rbac.authorization.k8s.io/v1 RoleBinding`
    RoleBinding,
    /// `v1 Secret`
    Secret,
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy,
    /// `policy/v1 PodDisruptionBudget`
    PodDisruptionBudget,
    /// `security.istio.io/v1 AuthorizationPolicy`
    AuthorizationPolicy,
    /// `networking.istio.io/v1 DestinationRule`
    DestinationRule,
    /// `networking.istio.io/v1 ServiceEntry`
    ServiceEntry,
    /// `apps/v1 Deployment`
    Deployment,
    /// `v1 Service`
    Service,
    /// `networking.istio.io/v1 VirtualService`
    VirtualService,
    /// `networking.istio.io/v1 Gateway`
    Gateway,
    /// `mm.ibm.istio.io/v1 ServiceExposition`, for a Service that is exposed by its labels
    ServiceExposition,
    /// `mm.ibm.istio.io/v1 ServiceBinding`, for a service that is imported automatically
    ServiceBinding,
}

impl GeneratedKind {
    /// Every kind, in the order of applying.
    pub const ALL: [Self; 15] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Secret,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::AuthorizationPolicy,
        Self::DestinationRule,
        Self::ServiceEntry,
        Self::Deployment,
        Self::Service,
        Self::VirtualService,
        Self::Gateway,
        Self::ServiceExposition,
        Self::ServiceBinding,
    ];

    /// Returns whether it is a kind of Istio, which istiod can receive over MCP.
    pub fn is_istio(self) -> bool {
        matches!(self.group(), "networking.istio.io" | "security.istio.io")
    }

    /// Returns whether the API server adds fields to objects of this kind that are written without them. Istio's
    /// definitions have no defaults: what Emcee did not write there was written by another client. Emcee's own
    /// definitions can have defaults, as Kubernetes' kinds do.
    pub fn has_server_side_defaults(self) -> bool {
        !self.is_istio()
    }

    /// Returns the group and version, as in YAML.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::Secret | Self::Service => "v1",
            Self::Role | Self::RoleBinding => "rbac.authorization.k8s.io/v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::PodDisruptionBudget => "policy/v1",
            Self::Deployment => "apps/v1",
            Self::AuthorizationPolicy => "security.istio.io/v1",
            Self::DestinationRule | Self::ServiceEntry | Self::VirtualService | Self::Gateway => {
                "networking.istio.io/v1"
            }
            Self::ServiceExposition | Self::ServiceBinding => emcee_api::API_VERSION,
        }
    }

    /// Returns whether objects of this kind hold keys or grant access to them. Emcee writes such kinds, and has
    /// rights to them, only where relationships have their Secrets and gateways.
    pub const fn holds_keys(self) -> bool {
        matches!(self, Self::Secret | Self::Role | Self::RoleBinding)
    }

    /// Returns the API group. Empty for Kubernetes' core group.
    pub fn group(self) -> &'static str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Returns the version within the API group.
    pub fn version(self) -> &'static str {
        self.api_version().rsplit_once('/').map_or(self.api_version(), |(_, version)| version)
    }

    /// Returns the plural name, as in URLs and in RBAC rules.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::Secret => "secrets",
            Self::NetworkPolicy => "networkpolicies",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::AuthorizationPolicy => "authorizationpolicies",
            Self::DestinationRule => "destinationrules",
            Self::ServiceEntry => "serviceentries",
            Self::Deployment => "deployments",
            Self::Service => "services",
            Self::VirtualService => "virtualservices",
            Self::Gateway => "gateways",
            Self::ServiceExposition => "serviceexpositions",
            Self::ServiceBinding => "servicebindings",
        }
    }

    /// Returns the kind, as in YAML.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Secret => "Secret",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::VirtualService => "VirtualService",
            Self::Gateway => "Gateway",
            Self::ServiceExposition => "ServiceExposition",
            Self::ServiceBinding => "ServiceBinding",
        }
    }
}
