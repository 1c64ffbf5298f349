//! What one unit comes to.

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

/// What is kept of what one unit came to: what others look at. Its objects, and the verdicts on services and what they
/// offer, would be most of the memory, and are made again when they are asked for.
#[derive(Debug)]
pub(super) enum Output {
    /// Nothing is kept.
    Unkept,
    /// Of a relationship, or of a Service that is exposed by its labels.
    Verdict(Box<Verdict>),
    /// Of a binding.
    Bound(Box<Binds>),
    /// Of what is announced: what of it is not imported.
    Skipped(Box<[Skipped]>),
}

/// What a binding comes to for those who share with it, if it has all that it claims.
#[derive(Debug)]
pub(super) struct Binds {
    pub(super) facade_port: Option<FacadePort>,
    pub(super) relays: bool,
    /// The peer whose announcement it follows.
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

/// None of a relationship in which nothing is imported automatically.
pub(super) fn imports(view: &View<'_>, fed_config: &Key) -> Option<(Output, Vec<Object>)> {
    let relationship = view.relationship(fed_config)?;
    let Imports { bindings, skipped } = resolve::imports(view, relationship)?;
    let objects = block::imports::objects(&relationship.config, &bindings);
    Some((Output::Skipped(skipped.into()), objects))
}

/// An exposition that could be read, and its relationships.
struct Exposed<'a> {
    exposition: &'a Exposition,
    offerings: Result<Vec<Offering<'a>>, Problem>,
    warnings: Vec<Problem>,
}

fn exposed<'a>(view: &View<'a>, key: &Key) -> Option<Result<Exposed<'a>, &'a [Problem]>> {
    let exposition = match view.exposition(key)? {
        Ok(exposition) => exposition,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let offerings = resolve::exposition(view, exposition, &mut warnings);
    Some(Ok(Exposed { exposition, offerings, warnings }))
}

pub(super) fn exposition(view: &View<'_>, key: &Key, claims: &mut Claims) -> Option<Output> {
    let exposed = exposed(view, key);
    let valid = exposed.as_ref().and_then(|exposed| exposed.as_ref().ok());
    let (age, wanted) = valid.map(Exposed::claims).unzip();
    claims.set_exposition(key, age.as_ref(), wanted.unwrap_or_default());
    exposed.map(|_| Output::Unkept)
}

/// What an exposition would claim if it ran now.
pub(super) fn exposition_claims(view: &View<'_>, key: &Key) -> Option<(Age, Vec<OfferingClaim>)> {
    Some(exposed(view, key)?.ok()?.claims())
}

/// How an exposition is, as its claims are now.
pub(super) fn exposition_verdict(view: &View<'_>, key: &Key, claims: &Claims) -> Option<Verdict> {
    Some(match exposed(view, key)? {
        Ok(exposed) => exposed.judged(view, claims),
        Err(problems) => Verdict::refused(problems),
    })
}

/// What an exposition offers, as its claims are now.
pub(super) fn offers(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Addressed> {
    match exposed(view, key) {
        Some(Ok(exposed)) => exposed.offers(view, claims),
        Some(Err(_)) | None => Vec::new(),
    }
}

/// The objects of an exposition, as its claims are now.
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
    fn claim(&self) -> OfferingClaim {
        let fed_config = self.relationship.key().clone();
        OfferingClaim { server_name: self.server_name.as_str().into(), fed_config }
    }
}

impl Exposed<'_> {
    /// In order.
    fn claims(&self) -> (Age, Vec<OfferingClaim>) {
        let mut claims: Vec<_> = self.offerings.iter().flatten().map(Offering::claim).collect();
        claims.sort_unstable();
        (self.exposition.identity.age.clone(), claims)
    }

    fn offers(&self, view: &View<'_>, claims: &Claims) -> Vec<Addressed> {
        let age = &self.exposition.identity.age;
        let held = |offering: &&Offering<'_>| claims.exposition_conflict(&offering.claim(), age).is_none();
        let offerings = self.offerings.iter().flatten().filter(held);
        offerings.filter_map(|offering| offering.addressed(self.exposition, view.settings())).collect()
    }

    fn judged(self, view: &View<'_>, claims: &Claims) -> Verdict {
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
            match (&offering.offer, held) {
                (Ok(_), None) => in_place.push(offering),
                (offer, held) => problems.extend(offer.as_ref().err().cloned().into_iter().chain(held)),
            }
        }
        let told = told(&offerings, &offers);
        Verdict::of_exposition(exposition, &offerings, &in_place, told, problems, warnings)
    }
}

/// `<relationship>/<peer>` of the peers that are told.
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

/// A binding that could be read, and what it binds.
struct Read<'a> {
    binding: &'a Binding,
    bound: Result<Bound<'a>, Problem>,
    warnings: Vec<Problem>,
}

fn read<'a>(view: &View<'a>, key: &Key) -> Option<Result<Read<'a>, &'a [Problem]>> {
    let binding = match view.binding(key)? {
        Ok(binding) => binding,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let bound = resolve::binding(view, binding, &mut warnings);
    Some(Ok(Read { binding, bound, warnings }))
}

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
        Ok(Read { bound: Ok(bound), .. }) => Output::Bound(Box::new(bound.binds())),
        Ok(Read { bound: Err(_), .. }) | Err(_) => Output::Unkept,
    })
}

/// What a binding would claim if it ran now.
pub(super) fn binding_claims(view: &View<'_>, key: &Key) -> Option<(Age, BindingClaim)> {
    Some(read(view, key)?.ok()?.claims())
}

/// How a binding is, as its claims are now.
pub(super) fn binding_verdict(view: &View<'_>, key: &Key, claims: &Claims) -> Option<Verdict> {
    Some(match read(view, key)? {
        Ok(read) => read.judged(claims),
        Err(problems) => Verdict::refused(problems),
    })
}

/// The objects of a binding, as its claims are now.
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
