//! Result of translating one unit: objects, verdict, claims.

use foldhash::HashSet;

use super::Unit;
use super::claims::{BindingClaim, Claims, OfferingClaim};
use crate::block;
use crate::catalogue::{Addressed, Source};
use crate::inputs::Service;
use crate::key::{Age, Key};
use crate::parse::{Binding, Exposition};
use crate::plan::Object;
use crate::problem::Problem;
use crate::resolve::{self, Asked, Bound, FacadePort, Imports, Offering, Skipped, View};
use crate::status::{Detail, Verdict};
use crate::style;

/// The stored part of a unit's result, which other units read. Objects, and the verdicts on services and their
/// announcements, would take most of the memory. They are computed on demand.
#[derive(Debug)]
pub(super) enum Output {
    /// The unit has a result, but no part of it is stored.
    Unkept,
    /// The verdict on a relationship, or on a Service that is exposed by its labels.
    Verdict(Box<Verdict>),
    /// The result of a binding.
    Bound(Box<Binds>),
    /// The announcements that are not imported.
    Skipped(Box<[Skipped]>),
}

/// What a binding contributes to the units that it shares with others, provided that it gets all of its claims.
#[derive(Debug)]
pub(super) struct Binds {
    pub(super) facade_port: Option<FacadePort>,
    pub(super) relays: bool,
    /// The peer whose announcement the binding follows.
    pub(super) uses: Option<Source>,
}

impl Output {
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Verdict(verdict) => Some(verdict),
            _ => None,
        }
    }

    pub(super) fn binds(&self) -> Option<&Binds> {
        match self {
            Self::Bound(binds) => Some(binds),
            _ => None,
        }
    }

    pub(super) fn skipped(&self) -> &[Skipped] {
        match self {
            Self::Skipped(skipped) => skipped,
            _ => &[],
        }
    }
}

/// Resolves the expositions that a Service's labels request. `None` if they request none.
pub(super) fn automatic(view: &View<'_>, service: &Service) -> Option<(Output, Vec<Object>)> {
    let expose = service.expose.as_deref()?;
    Some(match resolve::automatic(view, service, expose) {
        Ok(Asked { expositions, refused }) => {
            let refusal = || Output::Verdict(Box::new(Verdict::refused(&refused)));
            let output = if refused.is_empty() { Output::Unkept } else { refusal() };
            (output, block::automatic::objects(&service.key, &expositions))
        }
        Err(problem) => (Output::Verdict(Box::new(Verdict::failed(None, problem, Vec::new()))), Vec::new()),
    })
}

/// Resolves the bindings that a relationship imports automatically. `None` if it imports nothing automatically.
pub(super) fn imports(view: &View<'_>, fed_config: &Key) -> Option<(Output, Vec<Object>)> {
    let relationship = view.relationship(fed_config)?;
    let Imports { bindings, skipped } = resolve::imports(view, relationship)?;
    let objects = block::imports::objects(&relationship.config, &bindings);
    Some((Output::Skipped(skipped.into()), objects))
}

/// A valid exposition, and what it resolves to in each of its relationships.
struct Exposed<'a> {
    exposition: &'a Exposition,
    offerings: Result<Vec<Offering<'a>>, Problem>,
    warnings: Vec<Problem>,
}

/// Resolves an exposition without its claims. The error is that of an invalid exposition. `None` if it does not
/// exist.
fn exposed<'a>(view: &View<'a>, key: &Key) -> Option<Result<Exposed<'a>, &'a [Problem]>> {
    let exposition = match view.exposition(key)? {
        Ok(exposition) => exposition,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let offerings = resolve::exposition(view, exposition, &mut warnings);
    Some(Ok(Exposed { exposition, offerings, warnings }))
}

/// Resolves an exposition and registers its claims. `None` if it does not exist.
pub(super) fn exposition(view: &View<'_>, key: &Key, claims: &mut Claims) -> Option<Output> {
    let exposed = exposed(view, key);
    let valid = exposed.as_ref().and_then(|exposed| exposed.as_ref().ok());
    // An invalid or deleted exposition loses its claims.
    let (age, wanted) = valid.map(Exposed::claims).unzip();
    claims.set_exposition(key, age.as_ref(), wanted.unwrap_or_default());
    exposed.map(|_| Output::Unkept)
}

/// Returns what an exposition would claim if it ran now.
pub(super) fn exposition_claims(view: &View<'_>, key: &Key) -> Option<(Age, Vec<OfferingClaim>)> {
    Some(exposed(view, key)?.ok()?.claims())
}

/// Returns the verdict on an exposition according to the current claims.
pub(super) fn exposition_verdict(view: &View<'_>, key: &Key, claims: &Claims) -> Option<Verdict> {
    Some(match exposed(view, key)? {
        Ok(exposed) => exposed.judged(view, claims),
        Err(problems) => Verdict::refused(problems),
    })
}

/// Returns the announcements of an exposition according to the current claims.
pub(super) fn offers(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Addressed> {
    match exposed(view, key) {
        Some(Ok(exposed)) => exposed.offers(view, claims),
        Some(Err(_)) | None => Vec::new(),
    }
}

/// Returns the objects of an exposition according to the current claims.
pub(super) fn exposing(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Object> {
    let Some(Ok(exposed)) = exposed(view, key) else { return Vec::new() };
    let age = &exposed.exposition.identity.age;
    let in_place = exposed.offerings.iter().flatten().filter(|offering| {
        offering.offer.is_ok() && claims.exposition_conflict(&offering.claim(), age).is_none()
    });
    let objects = |offering: &Offering<'_>| {
        let style = style::of(offering.relationship.config.mode);
        offering.offer.as_ref().map(|offer| style.exposing(offer)).unwrap_or_default()
    };
    in_place.flat_map(objects).collect()
}

impl Offering<'_> {
    /// Returns the claim of the exposition in this relationship.
    fn claim(&self) -> OfferingClaim {
        let fed_config = self.relationship.key().clone();
        OfferingClaim { server_name: self.server_name.as_str().into(), fed_config }
    }
}

impl Exposed<'_> {
    /// Returns the precedence, and the claims in order.
    fn claims(&self) -> (Age, Vec<OfferingClaim>) {
        let mut claims: Vec<_> = self.offerings.iter().flatten().map(Offering::claim).collect();
        claims.sort_unstable();
        (self.exposition.identity.age.clone(), claims)
    }

    fn offers(&self, view: &View<'_>, claims: &Claims) -> Vec<Addressed> {
        let age = &self.exposition.identity.age;
        // A service whose server name belongs to another exposition is not announced: peers would reach the other
        // service.
        let held = |offering: &&Offering<'_>| claims.exposition_conflict(&offering.claim(), age).is_none();
        let offerings = self.offerings.iter().flatten().filter(held);
        offerings.filter_map(|offering| offering.addressed(self.exposition, view.settings())).collect()
    }

    fn judged(self, view: &View<'_>, claims: &Claims) -> Verdict {
        // Before `self` is taken apart below.
        let offers = self.offers(view, claims);
        let Self { exposition, offerings, warnings } = self;
        let generation = exposition.identity.generation;
        let offerings = match offerings {
            Ok(offerings) => offerings,
            Err(problem) => return Verdict::failed(generation, problem, warnings),
        };
        let mut problems = Vec::new();
        let mut in_place = Vec::new();
        for offering in &offerings {
            let held = claims.exposition_conflict(&offering.claim(), &exposition.identity.age);
            // Both problems are reported at once: the user can fix them together.
            match (&offering.offer, held) {
                (Ok(_), None) => in_place.push(offering),
                (offer, held) => problems.extend(offer.as_ref().err().cloned().into_iter().chain(held)),
            }
        }
        let told = told(&offerings, &offers);
        Verdict::of_exposition(exposition, &offerings, &in_place, told, problems, warnings)
    }
}

/// Returns the peers to which the exposition is announced, as `<relationship>/<peer>`.
fn told(offerings: &[Offering<'_>], offers: &[Addressed]) -> Vec<String> {
    let relationship = |fed_config: &Key| {
        let of = |offering: &&Offering<'_>| offering.relationship.key() == fed_config;
        offerings.iter().find(of).map(|offering| offering.relationship.config.relationship.as_str())
    };
    let names = |offer: &Addressed| {
        let relationship = relationship(&offer.fed_config).unwrap_or_default();
        offer.peers.iter().map(|peer| format!("{relationship}/{peer}")).collect::<Vec<_>>()
    };
    offers.iter().flat_map(names).collect()
}

/// A valid binding, and what it resolves to.
struct Read<'a> {
    binding: &'a Binding,
    bound: Result<Bound<'a>, Problem>,
    warnings: Vec<Problem>,
}

/// Resolves a binding without its claims. The error is that of an invalid binding. `None` if it does not exist.
fn read<'a>(view: &View<'a>, key: &Key) -> Option<Result<Read<'a>, &'a [Problem]>> {
    let binding = match view.binding(key)? {
        Ok(binding) => binding,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let bound = resolve::binding(view, binding, &mut warnings);
    Some(Ok(Read { binding, bound, warnings }))
}

/// Resolves a binding and registers its claims. Adds to `shared` the shared units that are affected. `None` if the
/// binding does not exist.
pub(super) fn binding(
    view: &View<'_>,
    key: &Key,
    claims: &mut Claims,
    shared: &mut HashSet<Unit>,
) -> Option<Output> {
    let read = read(view, key);
    let valid = read.as_ref().and_then(|read| read.as_ref().ok());
    let (age, wanted) = valid.map(Read::claims).unzip();
    claims.set_binding(key, age.as_ref(), wanted.unwrap_or_default(), shared);
    Some(match read? {
        // Stored whether or not the binding gets its claims. The shared units check that when they run.
        Ok(Read { bound: Ok(bound), .. }) => Output::Bound(Box::new(bound.binds())),
        Ok(Read { bound: Err(_), .. }) | Err(_) => Output::Unkept,
    })
}

/// Returns what a binding would claim if it ran now.
pub(super) fn binding_claims(view: &View<'_>, key: &Key) -> Option<(Age, BindingClaim)> {
    Some(read(view, key)?.ok()?.claims())
}

/// Returns the verdict on a binding according to the current claims.
pub(super) fn binding_verdict(view: &View<'_>, key: &Key, claims: &Claims) -> Option<Verdict> {
    Some(match read(view, key)? {
        Ok(read) => read.judged(claims),
        Err(problems) => Verdict::refused(problems),
    })
}

/// Returns the objects of a binding according to the current claims.
pub(super) fn consuming(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Object> {
    let Some(Ok(Read { binding, bound: Ok(bound), .. })) = read(view, key) else { return Vec::new() };
    match (&bound.consumption, claims.binding_conflict(&bound.claim(), &binding.identity.age)) {
        (Ok(consumption), None) => style::of(bound.relationship.config.mode).consuming(consumption),
        _ => Vec::new(),
    }
}

impl Bound<'_> {
    fn claim(&self) -> BindingClaim {
        BindingClaim {
            fed_config: Some(self.relationship.key().clone()),
            facade: self.facade.clone(),
            relay: self.relay.clone(),
        }
    }

    fn binds(self) -> Binds {
        Binds {
            relays: self.consumption.is_ok() && self.relay.is_some(),
            facade_port: self.facade_port,
            uses: self.uses,
        }
    }
}

impl Read<'_> {
    fn claims(&self) -> (Age, BindingClaim) {
        let claim = self.bound.as_ref().map(Bound::claim).unwrap_or_default();
        (self.binding.identity.age.clone(), claim)
    }

    fn judged(self, claims: &Claims) -> Verdict {
        let Self { binding, bound, warnings } = self;
        let generation = binding.identity.generation;
        let bound = match bound {
            Ok(bound) => bound,
            Err(problem) => return Verdict::failed(generation, problem, warnings),
        };
        let conflict = claims.binding_conflict(&bound.claim(), &binding.identity.age);
        let detail = Detail::of_binding(binding, &bound);
        let problems: Vec<_> = bound.consumption.err().into_iter().chain(conflict).collect();
        Verdict::of_binding(generation, problems, warnings, detail)
    }
}
