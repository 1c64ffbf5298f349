//! ServiceBinding: the remote service, and the name by which applications of this mesh call it.

use emcee_api::{AnnouncementStatus, ServiceBinding, ServiceBindingStatus, labels};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::ResourceIdentity;
use super::field_checker::FieldChecker;
use crate::endpoint::Endpoint;
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::mode::Mode;
use crate::names;
use crate::plan::OwnerKind;
use crate::policy;
use crate::protocol::Protocol;
use crate::text::quote_value;

/// Namespaces of this mesh that may see a remote service (`exportTo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportScope {
    /// Only the binding's namespace.
    Namespace,
    /// All namespaces of the mesh.
    Mesh,
}

impl ExportScope {
    /// Returns the scope that an `export_to` list means, or `None` if it is not an allowed list.
    pub(super) fn from_export_to(export_to: &[String]) -> Option<Self> {
        match export_to {
            [one] if one == "." => Some(Self::Namespace),
            [one] if one == "*" => Some(Self::Mesh),
            _ => None,
        }
    }

    /// Returns the value as written in `export_to`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => ".",
            Self::Mesh => "*",
        }
    }
}

/// ServiceBinding with valid values.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Namespace, name, precedence and generation.
    pub identity: ResourceIdentity,
    /// Name under which the other mesh exposes the service.
    pub remote_name: String,
    /// Namespace of the service in the other mesh.
    pub remote_namespace: String,
    /// Labels of the one MeshFedConfig through which the service is reached.
    pub fed_config: Labels,
    /// Name of the facade Service.
    pub facade: String,
    /// Port of the facade; `None` if not given.
    pub port: Option<u16>,
    /// Endpoints of the remote service; empty if not given.
    pub endpoints: Vec<Endpoint>,
    /// Subset of a local Service that the remote service provides. If `Some`, there is no facade.
    pub subset: Option<String>,
    /// Protocol of the port; `None` if not given.
    pub protocol: Option<Protocol>,
    /// Peer that provides the service; `None` if not given.
    pub peer: Option<String>,
    /// Server name, if it differs from the computed one.
    pub server_name: Option<String>,
    /// Identities of the remote service; empty if not given.
    pub subject_alt_names: Vec<String>,
    /// Namespaces that may see the service.
    pub export_scope: ExportScope,
    /// Whether the binding asks for the binding host, for users' own routes (annotation).
    pub wants_own_host: bool,
    /// Last accepted announcement, as stored in the status.
    pub stored_announcement: Option<Box<StoredAnnouncement>>,
    /// Relationship that imported the binding automatically, according to its labels: the namespace of the
    /// MeshFedConfig, and its name as a label value.
    pub(crate) import_owner: Option<(String, String)>,
}

/// Announcement that was stored in a status and read back.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnnouncement {
    /// Name of the peer that announced it.
    pub peer: String,
    /// Protocol of the remote port.
    pub protocol: Option<Protocol>,
    /// Port of the remote Service.
    pub port: Option<u16>,
    /// Endpoints of the remote service.
    pub endpoints: Vec<Endpoint>,
    /// Identities of the service's workloads.
    pub subject_alt_names: Vec<String>,
    /// Style of the relationship at the time of the announcement.
    pub mode: Option<Mode>,
    /// Trust domain of the mesh that announced it.
    pub trust_domain: Option<String>,
    /// Hash of the root certificates of that mesh's workloads.
    pub root_hash: Option<String>,
    /// Version of the announcement: a hash of its content.
    pub version: Option<String>,
    /// Whether the peer withdrew the announcement.
    pub withdrawn: bool,
    /// Time since which the peer was unreachable, if it was.
    pub stale_since: Option<Timestamp>,
}

impl Binding {
    /// Returns the binding host.
    pub fn binding_host(&self) -> String {
        names::binding_host(&self.identity.key.name, &self.identity.key.namespace)
    }

    /// Returns the service in the other mesh: its namespace, and the name under which it is exposed.
    pub fn remote_service(&self) -> ObjectKey {
        ObjectKey::new(&self.remote_namespace, &self.remote_name)
    }

    /// Returns the facade, or `None` if the binding provides a subset of a local Service.
    pub fn facade_key(&self) -> Option<ObjectKey> {
        let namespace = self.identity.key.namespace.clone();
        self.subset.is_none().then(|| ObjectKey { namespace, name: self.facade.as_str().into() })
    }

    /// Returns whether users' own routes may name the binding host. Otherwise the binding shares a host with others.
    pub fn has_own_host(&self) -> bool {
        self.subset.is_some() || self.wants_own_host
    }

    /// Returns the binding without its import owner, as created by a user. Anyone can write the labels that
    /// mark an import, so they are not always trusted.
    #[must_use]
    pub fn without_import_owner(self) -> Self {
        Self { import_owner: None, ..self }
    }

    /// Whether the binding was created for an announcement in this relationship. A copy under another name
    /// was not.
    pub fn is_import_of(&self, fed_config: &ObjectKey) -> bool {
        self.import_owner.as_ref() == Some(&import_owner_labels(fed_config))
            && self.identity.key == self.remote_service()
    }
}

pub(super) fn parse(
    checker: &mut FieldChecker,
    identity: ResourceIdentity,
    object: &ServiceBinding,
) -> Binding {
    let spec = &object.spec;
    let remote_namespace = spec.namespace.clone().unwrap_or_else(|| identity.key.namespace.to_string());
    check_own_name(checker, &identity.key.name);
    checker.check_label("spec.name", &spec.name);
    checker.check_label("spec.namespace", &remote_namespace);
    checker.check_fed_config_selector(&spec.mesh_fed_config_selector);
    checker.check_subject_alt_names("spec.subject_alt_names", &spec.subject_alt_names);
    for (field, value) in [("spec.subset", &spec.subset), ("spec.peer", &spec.peer)] {
        if let Some(value) = value {
            checker.check_label(field, value);
        }
    }
    check_server_name(checker, spec.server_name.as_deref());
    Binding {
        facade: facade_name(checker, object),
        identity,
        remote_name: spec.name.clone(),
        remote_namespace,
        fed_config: (&spec.mesh_fed_config_selector).into(),
        port: spec.port.map(|port| checker.parse_port("spec.port", port)),
        endpoints: parse_endpoints(checker, &spec.endpoints),
        subset: spec.subset.clone(),
        protocol: checker.parse_protocol("spec.protocol", spec.protocol.as_deref()),
        peer: spec.peer.clone(),
        server_name: spec.server_name.clone(),
        subject_alt_names: spec.subject_alt_names.clone(),
        export_scope: parse_export_to(checker, spec.export_to.as_deref()),
        wants_own_host: has_own_host_annotation(&object.metadata),
        stored_announcement: object.status.as_ref().and_then(read_stored_announcement).map(Box::new),
        import_owner: read_import_owner(&object.metadata),
    }
}

/// Returns whether the annotation asks for the binding host. Any other value than `true` means no.
fn has_own_host_annotation(metadata: &ObjectMeta) -> bool {
    let value = metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::OWN_HOST));
    value.is_some_and(|value| value == labels::OWN_HOST_ENABLED)
}

/// Returns the owner labels of imports of a relationship: the namespace of the MeshFedConfig, and its name as
/// a label value.
pub(crate) fn import_owner_labels(fed_config: &ObjectKey) -> (String, String) {
    (fed_config.namespace.to_string(), names::label_value(&fed_config.name))
}

fn read_import_owner(metadata: &ObjectMeta) -> Option<(String, String)> {
    let label = |key: &str| metadata.labels.as_ref()?.get(key);
    let is = |key: &str, value: &str| label(key).is_some_and(|it| it == value);
    // Every object that Emcee generates for a MeshFedConfig has both labels.
    let ours = is(labels::MANAGED_BY, labels::MANAGED_BY_EMCEE)
        && is(labels::OWNER_KIND, OwnerKind::MeshFedConfig.as_str());
    if !ours {
        return None;
    }
    Some((label(labels::OWNER_NAMESPACE)?.clone(), label(labels::OWNER_NAME)?.clone()))
}

/// Checks the binding's own name, which is the first label of its host.
fn check_own_name(checker: &mut FieldChecker, name: &str) {
    if !names::is_dns_label(name) {
        checker.refuse(
            "metadata.name",
            format!("{} is not a DNS label, and it is the first label of the binding's host (at most 63 characters, no dots)", quote_value(name)),
        );
    }
}

/// Returns the name of the facade. The facade is a Kubernetes Service, so its name begins with a letter (RFC
/// 1035).
fn facade_name(checker: &mut FieldChecker, object: &ServiceBinding) -> String {
    let (field, name) = match &object.spec.alias {
        Some(alias) => ("spec.alias", alias),
        None => ("spec.name", &object.spec.name),
    };
    if field == "spec.alias" {
        checker.check_alias(field, name);
    }
    // With a subset there is no facade, so the name of the remote service may begin with a digit.
    if object.spec.subset.is_none() && name.starts_with(|c: char| c.is_ascii_digit()) {
        checker.refuse(
            field,
            format!(
                "invalid alias {} (a Service's name begins with a letter: set spec.alias)",
                quote_value(name)
            ),
        );
    }
    name.clone()
}

/// Checks the endpoints as far as possible without the MeshFedConfig: endpoints that no peer may ever have
/// are refused.
fn parse_endpoints(checker: &mut FieldChecker, values: &[String]) -> Vec<Endpoint> {
    let field = "spec.endpoints";
    for (index, value) in values.iter().enumerate() {
        if let Some(words) = value.parse().ok().and_then(|endpoint| policy::never_allowed(&endpoint)) {
            checker.refuse(format!("{field}[{index}]"), words);
        }
    }
    checker.parse_endpoints(field, values)
}

fn check_server_name(checker: &mut FieldChecker, name: Option<&str>) {
    if let Some(words) = name.and_then(policy::server_name::why_malformed) {
        checker.refuse("spec.server_name", words);
    }
}

fn parse_export_to(checker: &mut FieldChecker, export_to: Option<&[String]>) -> ExportScope {
    let Some(export_to) = export_to else { return ExportScope::Mesh };
    match ExportScope::from_export_to(export_to) {
        Some(visibility) => visibility,
        None => {
            checker.refuse(
                "spec.export_to",
                r#"is neither ["."] (this namespace) nor ["*"] (the whole mesh, the default)"#,
            );
            ExportScope::Namespace
        }
    }
}

/// Reads the announcement stored in the status. Emcee wrote it, so parts that can no longer be read are
/// ignored. Discovery receives them again.
fn read_stored_announcement(status: &ServiceBindingStatus) -> Option<StoredAnnouncement> {
    let announcement: &AnnouncementStatus = status.announcement.as_ref()?;
    // Without its endpoints the announcement would be of no use, so one unreadable endpoint drops all of it.
    let endpoints: Result<Vec<_>, _> = announcement.endpoints.iter().map(|text| text.parse()).collect();
    Some(StoredAnnouncement {
        peer: announcement.peer.clone(),
        protocol: announcement.protocol.as_deref().and_then(|word| word.parse().ok()),
        port: announcement.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
        endpoints: endpoints.ok()?,
        subject_alt_names: announcement.subject_alt_names.clone(),
        mode: announcement.mode.as_deref().and_then(|word| word.parse().ok()),
        trust_domain: announcement.trust_domain.clone(),
        root_hash: announcement.root_hash.clone(),
        version: announcement.version.clone(),
        withdrawn: announcement.withdrawn,
        stale_since: status.stale_since.as_ref().map(|time| time.0),
    })
}
