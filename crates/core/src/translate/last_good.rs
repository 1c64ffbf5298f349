//! A translation that keeps the last good version of a resource that becomes invalid.

use std::collections::{BTreeMap, HashMap, HashSet};

use emcee_api::Reason;

use super::{Piece, Translation, Unit};
use crate::inputs::{Change, Credential, Settings};
use crate::key::Key;
use crate::problem::Problem;
use crate::status::Verdict;

/// A translation in which an invalid newer version does not replace a valid older one.
///
/// Whether a version is valid depends on the object alone, and for a certificate also on the time. So the outcome
/// depends on the history of each object, but not on the order in which different objects arrive. An object that was
/// deleted and created again has no history: its removal must be given before the new object.
#[derive(Debug)]
pub struct LastGood {
    translation: Translation,
    /// The problems of the newest version of each resource whose older version is in place.
    held: HashMap<Unit, Vec<Problem>>,
    /// The last good version of each Secret.
    credentials: HashMap<Key, Credential>,
    /// The newest version of each Secret whose older version is in place.
    broken: BTreeMap<Key, Credential>,
}

impl LastGood {
    /// Creates a translation without objects.
    pub fn new(settings: Settings) -> Self {
        Self {
            translation: Translation::new(settings),
            held: HashMap::new(),
            credentials: HashMap::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Returns the translation of the versions in place.
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// Applies changes and runs everything that they affect. Returns the units that may have other objects or another
    /// verdict, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Unit> {
        self.take(changes);
        self.finish()
    }

    /// Applies new settings and runs everything that they affect. Returns the units that may have other objects or
    /// another verdict, each once.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Unit> {
        self.take_settings(settings);
        self.finish()
    }

    /// Accepts changes. [`run_units`](Self::run_units) runs what they affect.
    pub fn take(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut judged = Judged::default();
        // Namespaces whose relationships may have to report another problem of a Secret.
        let mut secrets = HashSet::new();
        let mut usable = Vec::new();
        for change in changes {
            match change {
                Change::Credential(key, new) => {
                    let (change, affected) = self.judge_credential(key, new);
                    secrets.extend(affected);
                    usable.push(change);
                }
                change => match Unit::of(&change) {
                    Some(unit) => usable.extend(self.judge(unit, change, &mut judged)),
                    None => usable.push(change),
                },
            }
        }
        // All usable changes go in at once: a change must be judged by the outcome of earlier ones in the same batch,
        // which `judged` tracks.
        self.translation.take(usable);
        // These units may not run, as no input of theirs has changed. Their verdicts have.
        for unit in judged.units.into_iter().chain(self.relationships_in(&secrets)) {
            self.translation.recall(unit);
        }
    }

    /// Accepts new settings. [`run_units`](Self::run_units) runs what they affect. A certificate that was not valid
    /// yet may be valid now, so Secrets that were set aside are checked again.
    pub fn take_settings(&mut self, settings: Settings) {
        self.translation.take_settings(settings);
        let waiting: Vec<_> = self.broken.iter().map(|(key, secret)| (key.clone(), secret.clone())).collect();
        self.take(waiting.into_iter().map(|(key, secret)| Change::Credential(key, Some(secret))));
    }

    /// Runs units like [`Translation::run_units`]. Returns those that may have other objects or another verdict.
    pub fn work(&mut self, goes_on: impl FnMut() -> bool) -> Vec<Piece> {
        let mut pieces = self.translation.work(goes_on);
        for piece in &mut pieces {
            piece.units.sort_unstable();
        }
        pieces
    }

    /// Confirms that the caller has fetched the results of a batch.
    pub fn passed_on(&mut self, piece: &Piece) {
        self.translation.passed_on(piece);
    }

    /// Makes [`run_units`](Self::run_units) return a unit again.
    pub fn recall(&mut self, unit: Unit) {
        self.translation.recall(unit);
    }

    fn finish(&mut self) -> Vec<Unit> {
        let mut units = self.translation.finish();
        units.sort_unstable();
        units
    }

    /// Returns the verdict on one resource, including the refusal of a newer version.
    pub fn verdict(&self, unit: &Unit) -> Option<Verdict> {
        self.translation.verdict(unit).map(|verdict| self.judged(unit, verdict))
    }

    /// Returns the verdict on each resource, in order.
    pub fn verdicts(&self) -> Vec<(&Unit, Verdict)> {
        let verdicts = self.translation.verdicts().into_iter();
        verdicts.map(|(unit, verdict)| (unit, self.judged(unit, verdict))).collect()
    }

    /// Filters a change to a resource. Returns the change to apply, or `None` if the last good version stays.
    fn judge(&mut self, unit: Unit, change: Change, judged: &mut Judged) -> Option<Change> {
        let newest = verdict_on(&change);
        match newest {
            Newest::Refused(problems) if judged.has_good(&unit, &self.translation) => {
                self.held.insert(unit.clone(), problems.to_vec());
                judged.units.push(unit);
                return None;
            }
            Newest::Good => judged.good.insert(unit.clone(), true),
            Newest::Gone | Newest::Refused(_) => judged.good.insert(unit.clone(), false),
        };
        // The newest version is in place again. If an earlier one had been refused, its verdict changes.
        judged.units.extend(self.held.remove(&unit).map(|_| unit));
        Some(change)
    }

    /// Filters a change to a Secret. Returns the change to apply, and the namespace of the Secret if a verdict may
    /// change.
    ///
    /// Labels are always taken from the newest version: removing a label takes a Secret out of use, broken or not.
    fn judge_credential(&mut self, key: Key, new: Option<Credential>) -> (Change, Option<String>) {
        let was_broken = self.broken.remove(&key).is_some();
        let place = match new {
            Some(new) if self.is_worse(&key, &new) => {
                let good = self.credentials.get(&key).cloned();
                let place = good.map(|good| Credential { labels: new.labels.clone(), ..good });
                self.broken.insert(key.clone(), new);
                place
            }
            Some(new) => {
                // A version that is only expired, or not valid yet, is good enough to fall back to, but not to
                // replace a valid one.
                if new.problem.is_none() {
                    self.credentials.insert(key.clone(), new.clone());
                }
                Some(new)
            }
            None => {
                self.credentials.remove(&key);
                None
            }
        };
        // A verdict changes when a Secret becomes broken, stays so, or is no longer broken.
        let affected = was_broken || self.broken.contains_key(&key);
        let namespace = affected.then(|| key.namespace.to_string());
        (Change::Credential(key, place), namespace)
    }

    /// Returns whether a good version of a Secret is in place, and this version is unusable or not valid now.
    fn is_worse(&self, key: &Key, new: &Credential) -> bool {
        let now = self.translation.inputs().settings().now;
        let in_place = self.credentials.get(key);
        let in_force = in_place.is_some_and(|good| good.out_of_time(now).is_none());
        in_place.is_some() && new.problem.is_some() || in_force && new.out_of_time(now).is_some()
    }

    /// Returns the units of the MeshFedConfigs in these namespaces.
    fn relationships_in(&self, namespaces: &HashSet<String>) -> Vec<Unit> {
        if namespaces.is_empty() {
            return Vec::new();
        }
        let keys = self.translation.inputs().fed_configs().map(|(key, _)| key);
        let there = keys.filter(|key| namespaces.contains(&*key.namespace));
        there.map(|key| Unit::MeshFedConfig(key.clone())).collect()
    }

    /// Adds what is wrong with newer versions to the verdict on the version in place.
    fn judged(&self, unit: &Unit, mut verdict: Verdict) -> Verdict {
        if let Some(problems) = self.held.get(unit) {
            verdict = verdict.holding(problems);
        }
        if verdict.certificate == Some(Ok(()))
            && let Some(problem) = self.bad_credential(unit)
        {
            verdict.certificate = Some(Err(Box::new(problem)));
        }
        verdict
    }

    /// Returns why the newest version of the Secret that a relationship uses is not usable.
    fn bad_credential(&self, unit: &Unit) -> Option<Problem> {
        let Unit::MeshFedConfig(key) = unit else { return None };
        let config = self.translation.inputs().fed_configs.get(key)?.as_ref().ok()?;
        let selector = config.tls_context.as_ref()?;
        let mut broken = self.broken.values().filter(|secret| secret.key.namespace == key.namespace);
        let secret = broken.find(|secret| secret.has_labels(selector))?;
        let (field, words) = secret.problem_at(self.translation.inputs().settings().now)?;
        let words = format!("Secret {}: {field} {words}; the last good one stays in place", secret.key);
        Some(Problem::at(Reason::CertificateInvalid, "spec.tls_context_selector", words))
    }
}

/// Outcome of the changes of one batch, which the translation has not seen yet.
#[derive(Default)]
struct Judged {
    units: Vec<Unit>,
    /// Whether a valid version will be in place after the changes so far.
    good: HashMap<Unit, bool>,
}

impl Judged {
    fn has_good(&self, unit: &Unit, before: &Translation) -> bool {
        self.good.get(unit).copied().unwrap_or_else(|| before.has_good(unit))
    }
}

/// State of the newest version of a resource.
enum Newest<'a> {
    Good,
    Refused(&'a [Problem]),
    Gone,
}

fn verdict_on(change: &Change) -> Newest<'_> {
    match change {
        Change::FedConfig(_, Some(Err(problems)))
        | Change::Exposition(_, Some(Err(problems)))
        | Change::Binding(_, Some(Err(problems))) => Newest::Refused(problems),
        Change::FedConfig(_, None) | Change::Exposition(_, None) | Change::Binding(_, None) => Newest::Gone,
        _ => Newest::Good,
    }
}
