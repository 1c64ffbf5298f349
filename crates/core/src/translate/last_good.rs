//! A translation that keeps the last good version of what becomes invalid.

use std::collections::{BTreeMap, HashMap, HashSet};

use emcee_api::Reason;

use super::{Piece, Translation, Unit};
use crate::inputs::{Change, Credential, Settings};
use crate::key::Key;
use crate::problem::Problem;
use crate::status::Verdict;

/// A translation in which a newer version that cannot be used does not displace an older one that can.
///
/// Whether a version can be used is judged by the object alone, and of a certificate by the time: so the outcome
/// depends on each object's own history, and not on the order in which different objects came. An object that was deleted and made anew has no history: its
/// removal has to be given before the new one.
#[derive(Debug)]
pub struct LastGood {
    translation: Translation,
    /// What is wrong with the newest version of a resource of which an older one is in place.
    held: HashMap<Unit, Vec<Problem>>,
    /// The Secrets of which a good version is in place.
    credentials: HashMap<Key, Credential>,
    /// The newest version of Secrets of which an older one is in place.
    broken: BTreeMap<Key, Credential>,
}

impl LastGood {
    /// A translation of nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            translation: Translation::new(settings),
            held: HashMap::new(),
            credentials: HashMap::new(),
            broken: BTreeMap::new(),
        }
    }

    /// What is in place.
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// Takes changes in; says which units may have other objects or another verdict, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Unit> {
        self.take(changes);
        self.finish()
    }

    /// Takes new surroundings in; says which units may have other objects or another verdict, each once.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Unit> {
        self.take_settings(settings);
        self.finish()
    }

    /// Takes changes in. What they reach is to [`work`](Self::work).
    pub fn take(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut judged = Judged::default();
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
        self.translation.take(usable);
        for unit in judged.units.into_iter().chain(self.relationships_in(&secrets)) {
            self.translation.recall(unit);
        }
    }

    /// Takes new surroundings in. What they reach is to [`work`](Self::work). A certificate that had to wait for its time
    /// may have come into force.
    pub fn take_settings(&mut self, settings: Settings) {
        self.translation.take_settings(settings);
        let waiting: Vec<_> = self.broken.iter().map(|(key, secret)| (key.clone(), secret.clone())).collect();
        self.take(waiting.into_iter().map(|(key, secret)| Change::Credential(key, Some(secret))));
    }

    /// Runs units as [`Translation::work`] does; says which may have other objects or another verdict.
    pub fn work(&mut self, goes_on: impl FnMut() -> bool) -> Vec<Piece> {
        let mut pieces = self.translation.work(goes_on);
        for piece in &mut pieces {
            piece.units.sort_unstable();
        }
        pieces
    }

    /// What came of a piece has been asked for.
    pub fn passed_on(&mut self, piece: &Piece) {
        self.translation.passed_on(piece);
    }

    /// Has a unit be among those that [`work`](Self::work) returns.
    pub fn recall(&mut self, unit: Unit) {
        self.translation.recall(unit);
    }

    fn finish(&mut self) -> Vec<Unit> {
        let mut units = self.translation.finish();
        units.sort_unstable();
        units
    }

    /// How one resource is, a newer version that was refused included.
    pub fn verdict(&self, unit: &Unit) -> Option<Verdict> {
        self.translation.verdict(unit).map(|verdict| self.judged(unit, verdict))
    }

    /// How each resource is, in order.
    pub fn verdicts(&self) -> Vec<(&Unit, Verdict)> {
        let verdicts = self.translation.verdicts().into_iter();
        verdicts.map(|(unit, verdict)| (unit, self.judged(unit, verdict))).collect()
    }

    /// The change that is to be made of one to a resource; none if its last good version stays.
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
        judged.units.extend(self.held.remove(&unit).map(|_| unit));
        Some(change)
    }

    /// The change that is to be made of one to a Secret, and its namespace if that shows in a verdict.
    ///
    /// Labels are always the newest: by them it is taken out of use, broken or not.
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
        let affected = was_broken || self.broken.contains_key(&key);
        let namespace = affected.then(|| key.namespace.to_string());
        (Change::Credential(key, place), namespace)
    }

    /// Whether a Secret is in place that can be used, and this version of it cannot, or not now.
    fn is_worse(&self, key: &Key, new: &Credential) -> bool {
        let now = self.translation.inputs().settings().now;
        let in_place = self.credentials.get(key);
        let in_force = in_place.is_some_and(|good| good.out_of_time(now).is_none());
        in_place.is_some() && new.problem.is_some() || in_force && new.out_of_time(now).is_some()
    }

    fn relationships_in(&self, namespaces: &HashSet<String>) -> Vec<Unit> {
        if namespaces.is_empty() {
            return Vec::new();
        }
        let keys = self.translation.inputs().fed_configs().map(|(key, _)| key);
        let there = keys.filter(|key| namespaces.contains(&*key.namespace));
        there.map(|key| Unit::MeshFedConfig(key.clone())).collect()
    }

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

    /// Why the newest version of the Secret that a relationship uses cannot be used.
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

/// What came of the changes to resources so far, of which the translation has not heard yet.
#[derive(Default)]
struct Judged {
    units: Vec<Unit>,
    /// Whether a good version will be in place.
    good: HashMap<Unit, bool>,
}

impl Judged {
    fn has_good(&self, unit: &Unit, before: &Translation) -> bool {
        self.good.get(unit).copied().unwrap_or_else(|| before.has_good(unit))
    }
}

/// What the newest version of a resource is.
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
