//! Automatic import: the ServiceBindings that Emcee creates for the announcements of a relationship.
//!
//! A name belongs to the first peer that announces it. The existing ServiceBinding records this. If a service
//! is withdrawn, or its peer becomes unreachable, no other peer gets the name.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::{ImportMode, Reason};

use super::{InputView, ResolvedRelationship};
use crate::catalogue::{Announcement, PeerKey};
use crate::key::ObjectKey;
use crate::names;
use crate::parse::{Binding, FedConfig};
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;

/// Automatic imports of a relationship.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    /// ServiceBindings to create, by namespace and name.
    pub(crate) bindings: BTreeMap<ObjectKey, Import>,
    /// Announced services that are not imported, with the reason.
    pub(crate) skipped: Vec<SkippedImport>,
}

/// One import. Its port and protocol are those that were announced first: applications use them, so a later
/// announcement does not change them. The existing ServiceBinding records them, so a user can change them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) peer: Arc<str>,
    pub(crate) port: Option<u16>,
    pub(crate) protocol: Option<Protocol>,
}

/// Announced service that is not imported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SkippedImport {
    pub(crate) peer: Arc<str>,
    pub(crate) service: ObjectKey,
    pub(crate) problem: ResourceProblem,
}

/// Returns the imports of a relationship, or `None` if it does not import automatically.
pub(crate) fn resolve(view: &InputView<'_>, relationship: &ResolvedRelationship) -> Option<Imports> {
    let config = &relationship.config;
    if config.discovery.import != ImportMode::Automatic || relationship.refused.is_some() {
        return None;
    }
    // Existing imports first, so that a new announcement cannot take their names.
    let mut imports = Imports { bindings: existing_imports(view, config), skipped: Vec::new() };
    for peer in &config.peers {
        let peer_key = PeerKey::new(config.identity.key.clone(), &peer.name);
        for (service, announcement) in view.announcements_of(&peer_key) {
            if let Some(import) = imports.bindings.get_mut(service)
                && import.peer == peer_key.peer
            {
                // The import exists already. An older Emcee may not have recorded its port.
                import.fill_from(announcement);
                continue;
            }
            match import_obstacle(view, config, service, announcement, &imports.bindings) {
                None => {
                    let mut import = Import { peer: Arc::clone(&peer_key.peer), port: None, protocol: None };
                    import.fill_from(announcement);
                    imports.bindings.insert(service.clone(), import);
                }
                Some(problem) => {
                    let (peer, service) = (Arc::clone(&peer_key.peer), service.clone());
                    imports.skipped.push(SkippedImport { peer, service, problem });
                }
            }
        }
    }
    Some(imports)
}

impl Import {
    /// Sets the port and the protocol to those of the announcement, unless they are set already.
    fn fill_from(&mut self, announcement: &Announcement) {
        // Validation refuses port 0 before. In a ServiceBinding it would be invalid, and would not be
        // recorded.
        self.port = self.port.or_else(|| Some(announcement.port).filter(|port| *port > 0));
        self.protocol.get_or_insert(announcement.protocol);
    }
}

/// Returns the existing imports that stay. Above the limit, the oldest ones stay.
fn existing_imports(view: &InputView<'_>, config: &FedConfig) -> BTreeMap<ObjectKey, Import> {
    let fed_config = &config.identity.key;
    let mut existing: Vec<_> =
        view.imports_of(fed_config).filter(|binding| binding.is_import_of(fed_config)).collect();
    existing.sort_by(|a, b| a.identity.precedence.cmp(&b.identity.precedence));
    let staying = existing.into_iter().filter_map(|binding| {
        let peer = retained_peer(view, config, binding)?;
        // An older Emcee wrote neither port nor protocol into the binding, so read them from the stored
        // announcement.
        let stored = binding.stored_announcement.as_deref().filter(|stored| *stored.peer == *peer);
        let port = binding.port.or_else(|| stored.and_then(|stored| stored.port));
        let protocol = binding.protocol.or_else(|| stored.and_then(|stored| stored.protocol));
        Some((binding.identity.key.clone(), Import { peer, port, protocol }))
    });
    staying.take(config.discovery.max_imports).collect()
}

/// Returns the peer of an import that stays, or `None` if the import is removed. An import stays if its
/// service is announced, if its peer is not synced yet, or if another peer could get its name.
fn retained_peer(view: &InputView<'_>, config: &FedConfig, binding: &Binding) -> Option<Arc<str>> {
    let namespace = &binding.identity.key.namespace;
    let peer = binding.peer.as_ref()?;
    let listed = config.peers.iter().any(|listed| listed.name == *peer);
    if !listed || !imports_into(config, namespace) {
        return None;
    }
    let peer_key = PeerKey::new(config.identity.key.clone(), peer);
    let announced = view
        .announcers(&config.identity.key, &binding.identity.key)
        .any(|(announcer, _)| *announcer == peer_key.peer);
    (announced || !view.is_synced(&peer_key) || has_competing_importers(view, config, namespace))
        .then_some(peer_key.peer)
}

/// Whether services of this namespace are imported through a MeshFedConfig.
fn imports_into(config: &FedConfig, namespace: &str) -> bool {
    config.discovery.import == ImportMode::Automatic
        && config.discovery.namespaces.contains(namespace)
        && config.allows_namespace(namespace)
}

/// Whether another peer could get a name in this namespace automatically, once it is free.
fn has_competing_importers(view: &InputView<'_>, config: &FedConfig, namespace: &str) -> bool {
    config.peers.len() > 1 || other_importers(view, config, namespace).next().is_some()
}

fn other_importers<'a>(
    view: &InputView<'a>,
    config: &FedConfig,
    namespace: &str,
) -> impl Iterator<Item = &'a Arc<FedConfig>> {
    view.fed_configs()
        .filter(move |other| other.identity.key != config.identity.key && imports_into(other, namespace))
}

/// Returns why an announced service is not imported, or `None` if it is.
fn import_obstacle(
    view: &InputView<'_>,
    config: &FedConfig,
    service: &ObjectKey,
    announcement: &Announcement,
    taken: &BTreeMap<ObjectKey, Import>,
) -> Option<ResourceProblem> {
    let namespace = &service.namespace;
    if !imports_into(config, namespace) {
        let message = format!(
            "namespace {namespace} is not listed in spec.discovery.namespaces, or may not use the relationship"
        );
        return Some(ResourceProblem::new(Reason::NamespaceNotAllowed, message));
    }
    if !names::is_dns_label(&service.name) || service.name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("{:?} is not a valid Service name (bind it with an alias)", service.name);
        return Some(ResourceProblem::new(Reason::Invalid, message));
    }
    // A user may accept any identity explicitly. An automatic import must not.
    if config.mode.is_end_to_end() && announcement.identities.is_empty() {
        let message = format!(
            "{service} is announced without identities, so any workload of the common root would pass as it (wait until it has pods, or bind it by hand)"
        );
        return Some(ResourceProblem::new(Reason::IdentityNeeded, message));
    }
    if !view.has_namespace(namespace) {
        let message = format!("namespace {namespace} does not exist (create it)");
        return Some(ResourceProblem::new(Reason::NamespaceMissing, message));
    }
    if let Some(holder) = name_holder(view, config, service, taken) {
        let message = format!("{service} is held by {holder} (delete that, or bind it with an alias)");
        return Some(ResourceProblem::new(Reason::NameHeld, message));
    }
    (taken.len() >= config.discovery.max_imports).then(|| {
        let message = format!("there are {} imports already (spec.discovery.max_imports)", taken.len());
        ResourceProblem::new(Reason::ImportLimit, message)
    })
}

/// Returns the current or future holder of the name, for a message.
fn name_holder(
    view: &InputView<'_>,
    config: &FedConfig,
    service: &ObjectKey,
    taken: &BTreeMap<ObjectKey, Import>,
) -> Option<String> {
    if let Some(import) = taken.get(service) {
        return Some(format!("the import from peer {}", import.peer));
    }
    if view.binding(service).is_some() {
        return Some(format!("ServiceBinding {service}"));
    }
    if let Some(binding) = view.bindings_of_facade(service).next() {
        return Some(format!("ServiceBinding {}", binding.identity.key));
    }
    if view.service(service).is_some_and(|service| !service.is_own_facade) {
        return Some(format!("Service {service}, which is not Emcee's"));
    }
    // Two relationships could import the name at the same time. The older one gets it.
    let elder = |other: &&Arc<FedConfig>| other.identity.precedence < config.identity.precedence;
    let announces = |other: &&Arc<FedConfig>| {
        let listed = |name: &str| other.peers.iter().any(|peer| peer.name == name);
        view.announcers(&other.identity.key, service).any(|(peer, _)| listed(peer))
    };
    let mut elders = other_importers(view, config, &service.namespace).filter(elder);
    elders.find(announces).map(|other| format!("the older MeshFedConfig {}", other.identity.key))
}
