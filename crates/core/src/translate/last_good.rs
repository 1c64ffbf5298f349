//! A translation that keeps the last good version of a resource that becomes invalid.

use std::collections::{BTreeMap, HashMap, HashSet};

use emcee_api::Reason;

use super::{Translation, Unit, UnitBatch};
use crate::inputs::{Credential, InputChange, TranslationSettings};
use crate::key::ObjectKey;
use crate::problem::ResourceProblem;
use crate::status::ResourceVerdict;

/// A translation in which an invalid newer version does not replace a valid older one.
///
/// Whether a version is valid depends on the object alone, and for a certificate also on the time. So the outcome
/// depends on the history of each object, but not on the order in which different objects arrive. An object that was
/// deleted and created again has no history: its removal must be given before the new object.
#[derive(Debug)]
pub struct LastGood {
    translation: Translation,
    /// The problems of the newest version of each resource whose older version is in place.
    refused_updates: HashMap<Unit, Vec<ResourceProblem>>,
    /// The last good version of each Secret.
    good_credentials: HashMap<ObjectKey, Credential>,
    /// The newest version of each Secret whose older version is in place.
    bad_credentials: BTreeMap<ObjectKey, Credential>,
}

impl LastGood {
    /// Creates a translation without objects.
    pub fn new(settings: TranslationSettings) -> Self {
        Self {
            translation: Translation::new(settings),
            refused_updates: HashMap::new(),
            good_credentials: HashMap::new(),
            bad_credentials: BTreeMap::new(),
        }
    }

    /// Returns the translation of the versions in place.
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// Applies changes and runs everything that they affect. Returns the units that may have other objects or another
    /// verdict, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = InputChange>) -> Vec<Unit> {
        self.accept_changes(changes);
        self.run_to_completion()
    }

    /// Applies new settings and runs everything that they affect. Returns the units that may have other objects or
    /// another verdict, each once.
    pub fn set_settings(&mut self, settings: TranslationSettings) -> Vec<Unit> {
        self.accept_settings(settings);
        self.run_to_completion()
    }

    /// Accepts changes. [`run_units`](Self::run_units) runs what they affect.
    pub fn accept_changes(&mut self, changes: impl IntoIterator<Item = InputChange>) {
        let mut judged = ChangeReview::default();
        // Namespaces whose relationships may have to report another problem of a Secret.
        let mut secrets = HashSet::new();
        let mut usable = Vec::new();
        for change in changes {
            match change {
                InputChange::Credential(key, new) => {
                    let (change, affected) = self.filter_credential(key, new);
                    secrets.extend(affected);
                    usable.push(change);
                }
                change => match Unit::from_change(&change) {
                    Some(unit) => usable.extend(self.filter_change(unit, change, &mut judged)),
                    None => usable.push(change),
                },
            }
        }
        // All usable changes go in at once: a change must be judged by the outcome of earlier ones in the same batch,
        // which `judged` tracks.
        self.translation.accept_changes(usable);
        // These units may not run, as no input of theirs has changed. Their verdicts have.
        for unit in judged.affected.into_iter().chain(self.relationships_in(&secrets)) {
            self.translation.requeue_for_report(unit);
        }
    }

    /// Accepts new settings. [`run_units`](Self::run_units) runs what they affect. A certificate that was not valid
    /// yet may be valid now, so Secrets that were set aside are checked again.
    pub fn accept_settings(&mut self, settings: TranslationSettings) {
        self.translation.accept_settings(settings);
        let waiting: Vec<_> =
            self.bad_credentials.iter().map(|(key, secret)| (key.clone(), secret.clone())).collect();
        self.accept_changes(
            waiting.into_iter().map(|(key, secret)| InputChange::Credential(key, Some(secret))),
        );
    }

    /// Runs units like [`Translation::run_units`]. Returns those that may have other objects or another verdict.
    pub fn run_units(&mut self, goes_on: impl FnMut() -> bool) -> Vec<UnitBatch> {
        let mut pieces = self.translation.run_units(goes_on);
        for piece in &mut pieces {
            piece.units.sort_unstable();
        }
        pieces
    }

    /// Confirms that the caller has fetched the results of a batch.
    pub fn acknowledge_batch(&mut self, piece: &UnitBatch) {
        self.translation.acknowledge_batch(piece);
    }

    /// Makes [`run_units`](Self::run_units) return a unit again.
    pub fn requeue_for_report(&mut self, unit: Unit) {
        self.translation.requeue_for_report(unit);
    }

    fn run_to_completion(&mut self) -> Vec<Unit> {
        let mut units = self.translation.run_to_completion();
        units.sort_unstable();
        units
    }

    /// Returns the verdict on one resource, including the refusal of a newer version.
    pub fn verdict(&self, unit: &Unit) -> Option<ResourceVerdict> {
        self.translation.verdict(unit).map(|verdict| self.adjust_verdict(unit, verdict))
    }

    /// Returns the verdict on each resource, in order.
    pub fn verdicts(&self) -> Vec<(&Unit, ResourceVerdict)> {
        let verdicts = self.translation.verdicts().into_iter();
        verdicts.map(|(unit, verdict)| (unit, self.adjust_verdict(unit, verdict))).collect()
    }

    /// Filters a change to a resource. Returns the change to apply, or `None` if the last good version stays.
    fn filter_change(
        &mut self,
        unit: Unit,
        change: InputChange,
        judged: &mut ChangeReview,
    ) -> Option<InputChange> {
        let newest = newest_version(&change);
        match newest {
            NewestVersion::Refused(problems) if judged.has_valid_resource(&unit, &self.translation) => {
                self.refused_updates.insert(unit.clone(), problems.to_vec());
                judged.affected.push(unit);
                return None;
            }
            NewestVersion::Good => judged.will_be_valid.insert(unit.clone(), true),
            NewestVersion::Gone | NewestVersion::Refused(_) => {
                judged.will_be_valid.insert(unit.clone(), false)
            }
        };
        // The newest version is in place again. If an earlier one had been refused, its verdict changes.
        judged.affected.extend(self.refused_updates.remove(&unit).map(|_| unit));
        Some(change)
    }

    /// Filters a change to a Secret. Returns the change to apply, and the namespace of the Secret if a verdict may
    /// change.
    ///
    /// Labels are always taken from the newest version: removing a label takes a Secret out of use, broken or not.
    fn filter_credential(
        &mut self,
        key: ObjectKey,
        new: Option<Credential>,
    ) -> (InputChange, Option<String>) {
        let was_broken = self.bad_credentials.remove(&key).is_some();
        let place = match new {
            Some(new) if self.is_worse(&key, &new) => {
                let good = self.good_credentials.get(&key).cloned();
                let place = good.map(|good| Credential { labels: new.labels.clone(), ..good });
                self.bad_credentials.insert(key.clone(), new);
                place
            }
            Some(new) => {
                // A version that is only expired, or not valid yet, is good enough to fall back to, but not to
                // replace a valid one.
                if new.problem.is_none() {
                    self.good_credentials.insert(key.clone(), new.clone());
                }
                Some(new)
            }
            None => {
                self.good_credentials.remove(&key);
                None
            }
        };
        // A verdict changes when a Secret becomes broken, stays so, or is no longer broken.
        let affected = was_broken || self.bad_credentials.contains_key(&key);
        let namespace = affected.then(|| key.namespace.to_string());
        (InputChange::Credential(key, place), namespace)
    }

    /// Returns whether a good version of a Secret is in place, and this version is unusable or not valid now.
    fn is_worse(&self, key: &ObjectKey, new: &Credential) -> bool {
        let now = self.translation.inputs().settings().now;
        let in_place = self.good_credentials.get(key);
        let in_force = in_place.is_some_and(|good| good.validity_problem(now).is_none());
        in_place.is_some() && new.problem.is_some() || in_force && new.validity_problem(now).is_some()
    }

    /// Returns the units of the MeshFedConfigs in these namespaces.
    fn relationships_in(&self, namespaces: &HashSet<String>) -> Vec<Unit> {
        if namespaces.is_empty() {
            return Vec::new();
        }
        let keys = self.translation.inputs().fed_configs().map(|(key, _)| key);
        let matching = keys.filter(|key| namespaces.contains(&*key.namespace));
        matching.map(|key| Unit::MeshFedConfig(key.clone())).collect()
    }

    /// Adds what is wrong with newer versions to the verdict on the version in place.
    fn adjust_verdict(&self, unit: &Unit, mut verdict: ResourceVerdict) -> ResourceVerdict {
        if let Some(problems) = self.refused_updates.get(unit) {
            verdict = verdict.with_refused_update(problems);
        }
        if verdict.certificate == Some(Ok(()))
            && let Some(problem) = self.credential_problem(unit)
        {
            verdict.certificate = Some(Err(Box::new(problem)));
        }
        verdict
    }

    /// Returns why the newest version of the Secret that a relationship uses is not usable.
    fn credential_problem(&self, unit: &Unit) -> Option<ResourceProblem> {
        let Unit::MeshFedConfig(key) = unit else { return None };
        let config = self.translation.inputs().fed_configs.get(key)?.as_ref().ok()?;
        let selector = config.tls_context.as_ref()?;
        let mut broken = self.bad_credentials.values().filter(|secret| secret.key.namespace == key.namespace);
        let secret = broken.find(|secret| secret.has_labels(selector))?;
        let (field, words) = secret.problem_at(self.translation.inputs().settings().now)?;
        let words = format!("Secret {}: {field} {words}; the last good one stays in place", secret.key);
        Some(ResourceProblem::at_field(Reason::CertificateInvalid, "spec.tls_context_selector", words))
    }
}

/// Outcome of the changes of one batch, which the translation has not seen yet.
#[derive(Default)]
struct ChangeReview {
    affected: Vec<Unit>,
    /// Whether a valid version will be in place after the changes so far.
    will_be_valid: HashMap<Unit, bool>,
}

impl ChangeReview {
    fn has_valid_resource(&self, unit: &Unit, before: &Translation) -> bool {
        self.will_be_valid.get(unit).copied().unwrap_or_else(|| before.has_valid_resource(unit))
    }
}

/// State of the newest version of a resource.
enum NewestVersion<'a> {
    Good,
    Refused(&'a [ResourceProblem]),
    Gone,
}

fn newest_version(change: &InputChange) -> NewestVersion<'_> {
    match change {
        InputChange::FedConfig(_, Some(Err(problems)))
        | InputChange::Exposition(_, Some(Err(problems)))
        | InputChange::Binding(_, Some(Err(problems))) => NewestVersion::Refused(problems),
        InputChange::FedConfig(_, None)
        | InputChange::Exposition(_, None)
        | InputChange::Binding(_, None) => NewestVersion::Gone,
        _ => NewestVersion::Good,
    }
}
