//! Automatic import: which ServiceBindings what is announced in a relationship comes to.
//!
//! A name belongs to the first who takes it: the ServiceBinding that is there is the memory of that. So a service that
//! is taken back, or a peer that is lost, lets nobody else step in.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::{ImportMode, Reason};

use super::{Relationship, View};
use crate::catalogue::{Offer, Source};
use crate::key::Key;
use crate::names;
use crate::parse::{Binding, FedConfig};
use crate::problem::Problem;
use crate::protocol::Protocol;

/// What is announced in a relationship, as it is imported.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    /// The ServiceBindings, each with what it is of.
    pub(crate) bindings: BTreeMap<Key, Import>,
    /// What is announced and not imported, and why.
    pub(crate) skipped: Vec<Skipped>,
}

/// An import. Its port and protocol are those that were announced first: applications call it by these, and a peer does
/// not change them. The ServiceBinding that is there is the memory of that too, so a person can.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) peer: Arc<str>,
    pub(crate) port: Option<u16>,
    pub(crate) protocol: Option<Protocol>,
}

/// An announced service that is not imported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Skipped {
    pub(crate) peer: Arc<str>,
    pub(crate) service: Key,
    pub(crate) problem: Problem,
}

/// None where nothing is imported automatically.
pub(crate) fn resolve(view: &View<'_>, relationship: &Relationship) -> Option<Imports> {
    let config = &relationship.config;
    if config.discovery.import != ImportMode::Automatic || relationship.refused.is_some() {
        return None;
    }
    let mut imports = Imports { bindings: kept(view, config), skipped: Vec::new() };
    for peer in &config.peers {
        let source = Source::new(config.identity.key.clone(), &peer.name);
        for (service, offer) in view.announced(&source) {
            if let Some(import) = imports.bindings.get_mut(service)
                && import.peer == source.peer
            {
                import.learn(offer);
                continue;
            }
            match obstacle(view, config, service, offer, &imports.bindings) {
                None => {
                    let mut import = Import { peer: Arc::clone(&source.peer), port: None, protocol: None };
                    import.learn(offer);
                    imports.bindings.insert(service.clone(), import);
                }
                Some(problem) => {
                    let (peer, service) = (Arc::clone(&source.peer), service.clone());
                    imports.skipped.push(Skipped { peer, service, problem });
                }
            }
        }
    }
    Some(imports)
}

impl Import {
    /// Takes over what is announced, as far as nothing is there yet.
    fn learn(&mut self, offer: &Offer) {
        // 0 is refused before it comes here. In a ServiceBinding it would be a fault, and no memory.
        self.port = self.port.or_else(|| Some(offer.port).filter(|port| *port > 0));
        self.protocol.get_or_insert(offer.protocol);
    }
}

/// The imports that are there and stay, the oldest first where there are too many.
fn kept(view: &View<'_>, config: &FedConfig) -> BTreeMap<Key, Import> {
    let fed_config = &config.identity.key;
    let mut there: Vec<_> =
        view.imports_of(fed_config).filter(|binding| binding.is_import_of(fed_config)).collect();
    there.sort_by(|a, b| a.identity.age.cmp(&b.identity.age));
    let staying = there.into_iter().filter_map(|binding| {
        let peer = stays(view, config, binding)?;
        // An older Emcee wrote neither into the binding.
        let memory = binding.remembered.as_deref().filter(|memory| *memory.peer == *peer);
        let port = binding.port.or_else(|| memory.and_then(|memory| memory.port));
        let protocol = binding.protocol.or_else(|| memory.and_then(|memory| memory.protocol));
        Some((binding.identity.key.clone(), Import { peer, port, protocol }))
    });
    staying.take(config.discovery.max_imports).collect()
}

/// The peer of an import that stays: of a service that is announced, whose peer has not been heard yet, or whose name
/// somebody else could take.
fn stays(view: &View<'_>, config: &FedConfig, binding: &Binding) -> Option<Arc<str>> {
    let namespace = &binding.identity.key.namespace;
    let peer = binding.peer.as_ref()?;
    let listed = config.peers.iter().any(|listed| listed.name == *peer);
    if !listed || !takes(config, namespace) {
        return None;
    }
    let source = Source::new(config.identity.key.clone(), peer);
    let announced = view
        .announcers(&config.identity.key, &binding.identity.key)
        .any(|(announcer, _)| *announcer == source.peer);
    (announced || !view.has_answered(&source) || others_may_take(view, config, namespace))
        .then_some(source.peer)
}

/// Whether services of this namespace are imported.
fn takes(config: &FedConfig, namespace: &str) -> bool {
    config.discovery.import == ImportMode::Automatic
        && config.discovery.namespaces.contains(namespace)
        && config.allows(namespace)
}

/// Whether a name in this namespace, once free, could go to another peer without anybody's doing.
fn others_may_take(view: &View<'_>, config: &FedConfig, namespace: &str) -> bool {
    config.peers.len() > 1 || other_importers(view, config, namespace).next().is_some()
}

fn other_importers<'a>(
    view: &View<'a>,
    config: &FedConfig,
    namespace: &str,
) -> impl Iterator<Item = &'a Arc<FedConfig>> {
    view.fed_configs()
        .filter(move |other| other.identity.key != config.identity.key && takes(other, namespace))
}

/// Why an announced service is not imported.
fn obstacle(
    view: &View<'_>,
    config: &FedConfig,
    service: &Key,
    offer: &Offer,
    taken: &BTreeMap<Key, Import>,
) -> Option<Problem> {
    let namespace = &service.namespace;
    if !takes(config, namespace) {
        let message =
            format!("namespace {namespace} is not one of spec.discovery.namespaces that may use it");
        return Some(Problem::new(Reason::NamespaceNotAllowed, message));
    }
    if !names::is_dns_label(&service.name) || service.name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("{:?} is no name of a Service (bind it with an alias)", service.name);
        return Some(Problem::new(Reason::Invalid, message));
    }
    if config.mode.is_end_to_end() && offer.identities.is_empty() {
        let message = format!(
            "{service} is announced without identities, so any workload of the common root would pass as it (wait until it has pods, or bind it by hand)"
        );
        return Some(Problem::new(Reason::IdentityNeeded, message));
    }
    if !view.has_namespace(namespace) {
        let message = format!("namespace {namespace} does not exist (create it)");
        return Some(Problem::new(Reason::NamespaceMissing, message));
    }
    if let Some(holder) = holder(view, config, service, taken) {
        let message = format!("{service} is held by {holder} (delete that, or bind it with an alias)");
        return Some(Problem::new(Reason::NameHeld, message));
    }
    (taken.len() >= config.discovery.max_imports).then(|| {
        let message = format!("there are {} imports already (spec.discovery.max_imports)", taken.len());
        Problem::new(Reason::ImportLimit, message)
    })
}

/// Who has the name, or will have it.
fn holder(
    view: &View<'_>,
    config: &FedConfig,
    service: &Key,
    taken: &BTreeMap<Key, Import>,
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
    if view.service(service).is_some_and(|service| !service.our_facade) {
        return Some(format!("Service {service}, which is not Emcee's"));
    }
    // Both could take it at once: the older relationship does.
    let elder = |other: &&Arc<FedConfig>| other.identity.age < config.identity.age;
    let announces = |other: &&Arc<FedConfig>| {
        let listed = |name: &str| other.peers.iter().any(|peer| peer.name == name);
        view.announcers(&other.identity.key, service).any(|(peer, _)| listed(peer))
    };
    let mut elders = other_importers(view, config, &service.namespace).filter(elder);
    elders.find(announces).map(|other| format!("the older MeshFedConfig {}", other.identity.key))
}
