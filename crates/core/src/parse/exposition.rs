//! ServiceExposition: the exposed service, its name, and the relationships through which it is exposed.

use emcee_api::ServiceExposition;

use super::ResourceIdentity;
use super::field_checker::FieldChecker;
use crate::labels::Labels;
use crate::protocol::Protocol;
use crate::text::quote_value;

/// ServiceExposition with valid values.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposition {
    /// Namespace, name, precedence and generation.
    pub identity: ResourceIdentity,
    /// Name of the Service, in the same namespace.
    pub service: String,
    /// Port of the Service.
    pub port: u16,
    /// Labels of the MeshFedConfigs through which the service is exposed.
    pub fed_configs: Labels,
    /// First label of the server name.
    pub exposed_name: String,
    /// Subset that a DestinationRule for the Service defines.
    pub subset: Option<String>,
    /// Whether the service is announced to peers.
    pub directory: bool,
    /// Protocol of the port; `None` to use that of the Service's port.
    pub protocol: Option<Protocol>,
    /// The only peers that may see and call the service; `None` for all peers.
    pub peers: Option<Vec<String>>,
    /// Identities of the workloads; empty to use those of the pods.
    pub subject_alt_names: Vec<String>,
    /// Fields of the first prototype that are set and ignored.
    pub ignored_fields: Vec<&'static str>,
}

pub(super) fn parse(
    checker: &mut FieldChecker,
    identity: ResourceIdentity,
    object: &ServiceExposition,
) -> Exposition {
    let spec = &object.spec;
    checker.check_label("spec.name", &spec.name);
    checker.check_fed_config_selector(&spec.mesh_fed_config_selector);
    if let Some(alias) = &spec.alias {
        checker.check_alias("spec.alias", alias);
    }
    if let Some(subset) = &spec.subset {
        checker.check_label("spec.subset", subset);
    }
    checker.check_subject_alt_names("spec.subject_alt_names", &spec.subject_alt_names);
    check_peers(checker, spec.peers.as_deref());
    let written = [("spec.endpoints", &spec.endpoints), ("spec.clusters", &spec.clusters)];
    Exposition {
        identity,
        service: spec.name.clone(),
        port: checker.parse_port("spec.port", spec.port),
        fed_configs: (&spec.mesh_fed_config_selector).into(),
        exposed_name: spec.alias.as_ref().unwrap_or(&spec.name).clone(),
        subset: spec.subset.clone(),
        directory: spec.directory.unwrap_or(true),
        protocol: checker.parse_protocol("spec.protocol", spec.protocol.as_deref()),
        peers: spec.peers.clone(),
        subject_alt_names: spec.subject_alt_names.clone(),
        ignored_fields: written
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(field, _)| *field)
            .collect(),
    }
}

fn check_peers(checker: &mut FieldChecker, peers: Option<&[String]>) {
    if peers.is_some_and(<[String]>::is_empty) {
        checker.refuse("spec.peers", "is empty (leave it out to allow all peers, or name some)");
    }
    for (index, peer) in peers.into_iter().flatten().enumerate() {
        checker.check_label(&format!("spec.peers[{index}]"), peer);
        if peers.is_some_and(|peers| peers[..index].contains(peer)) {
            checker.refuse(format!("spec.peers[{index}]"), format!("{} is listed twice", quote_value(peer)));
        }
    }
}
