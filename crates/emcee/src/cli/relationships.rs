//! Which relationships there are, for commands that write what uses them.

use std::sync::Arc;

use emcee_api::labels::FED_CONFIG;
use emcee_api::{GROUP, MeshFedConfig, VERSION};
use emcee_core::catalogue::Terms;
use emcee_core::inputs::{Change, Settings};
use emcee_core::labels::Labels;
use emcee_core::parse::{self, FedConfig};
use emcee_core::translate::Translation;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::catalogue::{Unchosen, choose_peer, choose_relationship};
use crate::cluster::read;

/// The valid MeshFedConfigs, and what may be said in each.
#[derive(Default)]
pub(super) struct Relationships(Vec<Known>);

/// A relationship.
pub(super) struct Known {
    config: Arc<FedConfig>,
    /// What may be said in it.
    pub(super) terms: Arc<Terms>,
}

impl Relationships {
    /// Those of a cluster; none, if they may not be read.
    pub(super) async fn of_cluster(client: &Client, settings: Settings) -> anyhow::Result<Option<Self>> {
        let objects = read::readable::<MeshFedConfig>(client).await?;
        Ok(objects.map(|objects| {
            let changes = objects.iter().filter_map(change).collect::<Vec<_>>();
            Self::of(&Translation::of(settings, changes))
        }))
    }

    /// Those of a translation.
    pub(super) fn of(translation: &Translation) -> Self {
        let valid = translation.inputs().fed_configs();
        let valid = valid.filter_map(|(key, config)| Some((key, config.as_ref().ok()?)));
        let known = |(key, config): (_, &Arc<FedConfig>)| {
            let terms = Arc::clone(translation.terms_of(key)?);
            Some(Known { config: Arc::clone(config), terms })
        };
        Self(valid.filter_map(known).collect())
    }

    /// The relationship of that name.
    pub(super) fn named(&self, name: &str) -> Result<&Known, Unchosen> {
        choose_relationship(&self.0, Some(name), |known| {
            (&known.config.relationship, &known.config.identity.key)
        })
    }

    /// Labels for a resource of `namespace` that uses the relationship with these peers.
    ///
    /// # Errors
    /// What of that there is not, in words.
    pub(super) fn used(&self, name: &str, peers: &[&str], namespace: &str) -> Result<Labels, String> {
        let known = self.named(name).map_err(|error| error.to_string())?;
        for peer in peers {
            known.peer(Some(peer)).map_err(|error| error.to_string())?;
        }
        if let Some(words) = known.refuses(namespace) {
            return Err(words);
        }
        self.selector(known)
    }

    /// Labels that select the MeshFedConfig of this relationship, and no other.
    ///
    /// # Errors
    /// There are none, in words.
    pub(super) fn selector(&self, of: &Known) -> Result<Labels, String> {
        let own = &of.config.labels;
        let by_name = own.get(FED_CONFIG).map(|name| Labels::one(FED_CONFIG, name)).unwrap_or_default();
        let others = |selector: &Labels| {
            let mut others = self.0.iter().filter(|known| !Arc::ptr_eq(&known.config, &of.config));
            others.find(|other| other.config.matches(selector)).map(|other| &other.config.identity.key)
        };
        let mut tried = [&by_name, own].into_iter();
        if let Some(selector) = tried.find(|selector| others(selector).is_none()) {
            return Ok(selector.clone());
        }
        let other = others(own).map(ToString::to_string).unwrap_or_default();
        Err(format!(
            "MeshFedConfig {} has no labels that do not select {other} too (give each a label {FED_CONFIG} of its own)",
            of.config.identity.key
        ))
    }
}

impl Known {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.config.relationship
    }

    /// The name of the peer, if it is one.
    pub(super) fn peer(&self, name: Option<&str>) -> Result<&str, Unchosen> {
        Ok(&choose_peer(self.name(), &self.terms.peers, name, |peer| &peer.name)?.name)
    }

    /// Why a namespace may not use it, if so.
    pub(super) fn refuses(&self, namespace: &str) -> Option<String> {
        (!self.config.allows(namespace)).then(|| {
            format!(
                "MeshFedConfig {} does not allow namespace {namespace} (spec.allowed_namespaces)",
                self.config.identity.key
            )
        })
    }
}

/// Labels that select a MeshFedConfig of which nothing is known but the relationship's name: those of one that says
/// nothing else.
pub(super) fn assumed(relationship: &str) -> Labels {
    Labels::one(FED_CONFIG, relationship)
}

/// What nothing can be said of is passed over: it cannot be used.
fn change(object: &DynamicObject) -> Option<Change> {
    let mut value: Value = json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "MeshFedConfig"});
    value["metadata"] = serde_json::to_value(&object.metadata).ok()?;
    value["spec"] = object.data.get("spec")?.clone();
    let config = parse::fed_config(&value).ok()?;
    Some(Change::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config)))))
}
