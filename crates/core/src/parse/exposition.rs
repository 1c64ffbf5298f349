//! ServiceExposition: the exposed service, its name, and the relationships through which it is exposed.

use emcee_api::ServiceExposition;

use super::Identity;
use super::checker::Checker;
use crate::labels::Labels;
use crate::protocol::Protocol;
use crate::text::quote;

/// ServiceExposition with valid values.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposition {
    /// Namespace, name, precedence and generation.
    pub identity: Identity,
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
    pub ignored: Vec<&'static str>,
}

pub(super) fn parse(checker: &mut Checker, identity: Identity, object: &ServiceExposition) -> Exposition {
    let spec = &object.spec;
    checker.label("spec.name", &spec.name);
    checker.mesh_fed_config_selector(&spec.mesh_fed_config_selector);
    if let Some(alias) = &spec.alias {
        checker.alias("spec.alias", alias);
    }
    if let Some(subset) = &spec.subset {
        checker.label("spec.subset", subset);
    }
    checker.subject_alt_names("spec.subject_alt_names", &spec.subject_alt_names);
    peers(checker, spec.peers.as_deref());
    let written = [("spec.endpoints", &spec.endpoints), ("spec.clusters", &spec.clusters)];
    Exposition {
        identity,
        service: spec.name.clone(),
        port: checker.port("spec.port", spec.port),
        fed_configs: (&spec.mesh_fed_config_selector).into(),
        exposed_name: spec.alias.as_ref().unwrap_or(&spec.name).clone(),
        subset: spec.subset.clone(),
        directory: spec.directory.unwrap_or(true),
        protocol: checker.protocol("spec.protocol", spec.protocol.as_deref()),
        peers: spec.peers.clone(),
        subject_alt_names: spec.subject_alt_names.clone(),
        ignored: written.iter().filter(|(_, values)| !values.is_empty()).map(|(field, _)| *field).collect(),
    }
}

fn peers(checker: &mut Checker, peers: Option<&[String]>) {
    if peers.is_some_and(<[String]>::is_empty) {
        checker.refuse("spec.peers", "is empty (leave it out to allow all peers, or name some)");
    }
    for (index, peer) in peers.into_iter().flatten().enumerate() {
        checker.label(&format!("spec.peers[{index}]"), peer);
        if peers.is_some_and(|peers| peers[..index].contains(peer)) {
            checker.refuse(format!("spec.peers[{index}]"), format!("{} is listed twice", quote(peer)));
        }
    }
}
