//! Known relationships, for commands that write resources which use them.

use std::sync::Arc;

use emcee_api::labels::FED_CONFIG;
use emcee_api::{API_VERSION, MeshFedConfig};
use emcee_core::catalogue::PeerPolicy;
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::labels::Labels;
use emcee_core::parse::{self, FedConfig};
use emcee_core::translate::Translation;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::catalogue::{SelectionError, choose_peer, choose_relationship};
use crate::cluster::read;

/// Valid MeshFedConfigs, each with the policy for the announcements of its peers.
#[derive(Default)]
pub(super) struct KnownRelationships(Vec<KnownRelationship>);

/// Relationship with a valid MeshFedConfig.
pub(super) struct KnownRelationship {
    config: Arc<FedConfig>,
    /// Policy that announcements of the peers must satisfy.
    pub(super) peer_policy: Arc<PeerPolicy>,
}

impl KnownRelationships {
    /// Reads the relationships of a cluster. `None` if the user may not read MeshFedConfigs.
    ///
    /// # Errors
    /// The cluster cannot be read.
    pub(super) async fn from_cluster(
        client: &Client,
        settings: TranslationSettings,
    ) -> anyhow::Result<Option<Self>> {
        let objects = read::list_if_allowed::<MeshFedConfig>(client).await?;
        Ok(objects.map(|objects| {
            let changes = objects.iter().filter_map(fed_config_change).collect::<Vec<_>>();
            Self::from_translation(&Translation::from_changes(settings, changes))
        }))
    }

    /// Returns the relationships of a translation.
    pub(super) fn from_translation(translation: &Translation) -> Self {
        let valid = translation.inputs().fed_configs();
        let valid = valid.filter_map(|(key, config)| Some((key, config.as_ref().ok()?)));
        let known = |(key, config): (_, &Arc<FedConfig>)| {
            let policy = Arc::clone(translation.peer_policy_of(key)?);
            Some(KnownRelationship { config: Arc::clone(config), peer_policy: policy })
        };
        Self(valid.filter_map(known).collect())
    }

    /// Returns the relationship with the given name, or whose MeshFedConfig has that `namespace/name`.
    ///
    /// # Errors
    /// No relationship matches, or more than one does.
    pub(super) fn find_by_name(&self, name: &str) -> Result<&KnownRelationship, SelectionError> {
        choose_relationship(&self.0, Some(name), |known| {
            (&known.config.relationship, &known.config.identity.key)
        })
    }

    /// Returns labels that select the relationship, for a resource in `namespace` that uses these peers.
    ///
    /// # Errors
    /// The relationship or a peer does not exist, or the namespace is not allowed. The error is the message for the user.
    pub(super) fn checked_selector(
        &self,
        name: &str,
        peers: &[&str],
        namespace: &str,
    ) -> Result<Labels, String> {
        let known = self.find_by_name(name).map_err(|error| error.to_string())?;
        for peer in peers {
            known.select_peer(Some(peer)).map_err(|error| error.to_string())?;
        }
        if let Some(words) = known.namespace_refusal(namespace) {
            return Err(words);
        }
        self.unique_selector(known)
    }

    /// Returns labels that select the MeshFedConfig of this relationship and no other.
    ///
    /// # Errors
    /// Every selector also selects another one. The error is the message for the user.
    pub(super) fn unique_selector(&self, of: &KnownRelationship) -> Result<Labels, String> {
        let own = &of.config.labels;
        let by_name = own.get(FED_CONFIG).map(|name| Labels::single(FED_CONFIG, name)).unwrap_or_default();
        let others = |selector: &Labels| {
            let mut others = self.0.iter().filter(|known| !Arc::ptr_eq(&known.config, &of.config));
            others.find(|other| other.config.has_labels(selector)).map(|other| &other.config.identity.key)
        };
        // Prefer the single label `fed-config`, which people write; all labels together are the narrowest selector.
        let mut tried = [&by_name, own].into_iter();
        if let Some(selector) = tried.find(|selector| others(selector).is_none()) {
            return Ok(selector.clone());
        }
        let other = others(own).map(ToString::to_string).unwrap_or_default();
        Err(format!(
            "MeshFedConfig {} has only labels that also select {other} (give each its own label {FED_CONFIG})",
            of.config.identity.key
        ))
    }
}

impl KnownRelationship {
    /// Returns the name of the relationship.
    pub(super) fn name(&self) -> &str {
        &self.config.relationship
    }

    /// Returns the name of the given peer, or of the only peer if `name` is `None`.
    ///
    /// # Errors
    /// The peer does not exist, or the name is missing and there is more than one.
    pub(super) fn select_peer(&self, name: Option<&str>) -> Result<&str, SelectionError> {
        Ok(&choose_peer(self.name(), &self.peer_policy.peers, name, |peer| &peer.name)?.name)
    }

    /// Returns why a namespace may not use the relationship. `None` if it may.
    pub(super) fn namespace_refusal(&self, namespace: &str) -> Option<String> {
        (!self.config.allows_namespace(namespace)).then(|| {
            format!(
                "MeshFedConfig {} does not allow namespace {namespace} (spec.allowed_namespaces)",
                self.config.identity.key
            )
        })
    }
}

/// Returns labels for a MeshFedConfig that could not be read. They select one whose name is the relationship's, or
/// whose label `fed-config` is.
pub(super) fn assumed_selector(relationship: &str) -> Labels {
    Labels::single(FED_CONFIG, relationship)
}

/// Converts a MeshFedConfig. Returns `None` if it is invalid: an invalid relationship cannot be used.
fn fed_config_change(object: &DynamicObject) -> Option<InputChange> {
    let mut value: Value = json!({"apiVersion": API_VERSION, "kind": "MeshFedConfig"});
    value["metadata"] = serde_json::to_value(&object.metadata).ok()?;
    value["spec"] = object.data.get("spec")?.clone();
    let config = parse::read_fed_config(&value).ok()?;
    Some(InputChange::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config)))))
}
