//! What one unit comes to.

use foldhash::HashSet;

use super::Unit;
use super::claims::Claims;
use crate::block;
use crate::catalogue::{Addressed, Source};
use crate::inputs::Service;
use crate::key::Key;
use crate::parse::{Binding, Exposition};
use crate::plan::Object;
use crate::problem::Problem;
use crate::resolve::{self, Bound, FacadePort, Imports, Offering, Skipped, View};
use crate::status::{Detail, Verdict};
use crate::style;

/// What is kept of what one unit came to. Its objects are not: they would be most of the memory, and are made again
/// when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) verdict: Option<Box<Verdict>>,
    pub(super) facade_port: Option<Box<FacadePort>>,
    pub(super) relays: bool,
    /// The peer whose announcement a binding follows.
    pub(super) uses: Option<Source>,
    /// What is announced and not imported.
    pub(super) skipped: Vec<Skipped>,
    /// What an exposition offers.
    pub(super) offers: Box<[Addressed]>,
}

impl Output {
    /// Nothing but a verdict.
    pub(super) fn failed(verdict: Verdict) -> Self {
        Self { verdict: Some(Box::new(verdict)), ..Self::default() }
    }

    pub(super) fn refused(problems: &[Problem]) -> Self {
        Self::failed(Verdict::refused(problems))
    }
}

pub(super) fn automatic(view: &View<'_>, service: &Service) -> Option<(Output, Vec<Object>)> {
    let expose = service.expose.as_deref()?;
    Some(match resolve::automatic(view, service, expose) {
        Ok(expositions) => (Output::default(), block::automatic::objects(&service.key, &expositions)),
        Err(problem) => (Output::failed(Verdict::failed(None, problem, Vec::new())), Vec::new()),
    })
}

/// None of a relationship in which nothing is imported automatically.
pub(super) fn imports(view: &View<'_>, fed_config: &Key) -> Option<(Output, Vec<Object>)> {
    let relationship = view.relationship(fed_config)?;
    let Imports { bindings, skipped } = resolve::imports(view, relationship)?;
    let objects = block::imports::objects(&relationship.config, &bindings);
    Some((Output { skipped, ..Output::default() }, objects))
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

pub(super) fn exposition(
    view: &View<'_>,
    key: &Key,
    claims: &mut Claims,
    rivals: &mut HashSet<Unit>,
) -> Option<Output> {
    let exposed = exposed(view, key);
    let valid = exposed.as_ref().and_then(|exposed| exposed.as_ref().ok());
    let offerings = valid.and_then(|exposed| exposed.offerings.as_ref().ok());
    let server_names = offerings.into_iter().flatten().map(|offering| offering.server_name.clone()).collect();
    let age = valid.map(|exposed| &exposed.exposition.identity.age);
    rivals.extend(claims.set_server_names(key, age, server_names));
    Some(match exposed? {
        Ok(exposed) => exposed.output(view, claims),
        Err(problems) => Output::refused(problems),
    })
}

/// The objects of an exposition, as its claims are now.
pub(super) fn exposing(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Object> {
    let Some(Ok(exposed)) = exposed(view, key) else { return Vec::new() };
    let age = &exposed.exposition.identity.age;
    let in_place = exposed.offerings.iter().flatten().filter(|offering| {
        offering.offer.is_ok() && claims.server_name_conflict(&offering.server_name, age).is_none()
    });
    let objects = |offering: &Offering<'_>| {
        let style = style::of(offering.relationship.config.mode);
        offering.offer.as_ref().map(|offer| style.exposing(offer)).unwrap_or_default()
    };
    in_place.flat_map(objects).collect()
}

impl Exposed<'_> {
    fn output(self, view: &View<'_>, claims: &Claims) -> Output {
        let Self { exposition, offerings, warnings } = self;
        let generation = exposition.identity.generation;
        let offerings = match offerings {
            Ok(offerings) => offerings,
            Err(problem) => return Output::failed(Verdict::failed(generation, problem, warnings)),
        };
        let mut problems = Vec::new();
        let mut in_place = Vec::new();
        let mut offers = Vec::new();
        for offering in &offerings {
            let held = claims.server_name_conflict(&offering.server_name, &exposition.identity.age);
            if held.is_none() {
                offers.extend(offering.addressed(exposition, view.settings()));
            }
            match (&offering.offer, held) {
                (Ok(_), None) => in_place.push(offering),
                (offer, held) => problems.extend(offer.as_ref().err().cloned().into_iter().chain(held)),
            }
        }
        let told = told(&offerings, &offers);
        let verdict = Verdict::of_exposition(exposition, &offerings, &in_place, told, problems, warnings);
        Output { verdict: Some(Box::new(verdict)), offers: offers.into(), ..Output::default() }
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
struct Binds<'a> {
    binding: &'a Binding,
    bound: Result<Bound<'a>, Problem>,
    warnings: Vec<Problem>,
}

fn binds<'a>(view: &View<'a>, key: &Key) -> Option<Result<Binds<'a>, &'a [Problem]>> {
    let binding = match view.binding(key)? {
        Ok(binding) => binding,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let bound = resolve::binding(view, binding, &mut warnings);
    Some(Ok(Binds { binding, bound, warnings }))
}

pub(super) fn binding(
    view: &View<'_>,
    key: &Key,
    claims: &mut Claims,
    rivals: &mut HashSet<Unit>,
    shared: &mut HashSet<Unit>,
) -> Option<Output> {
    let binds = binds(view, key);
    let valid = binds.as_ref().and_then(|binds| binds.as_ref().ok());
    let bound = valid.and_then(|binds| binds.bound.as_ref().ok());
    let age = valid.map(|binds| &binds.binding.identity.age);
    let (facade, relay) = (bound.and_then(|b| b.facade.clone()), bound.and_then(|b| b.relay.clone()));
    rivals.extend(claims.set_binding(key, age, facade, relay, shared));
    Some(match binds? {
        Ok(binds) => binds.output(claims),
        Err(problems) => Output::refused(problems),
    })
}

/// The objects of a binding, as its claims are now.
pub(super) fn consuming(view: &View<'_>, key: &Key, claims: &Claims) -> Vec<Object> {
    let Some(Ok(Binds { binding, bound: Ok(bound), .. })) = binds(view, key) else { return Vec::new() };
    match (&bound.consumption, conflict(&bound, binding, claims)) {
        (Ok(consumption), None) => style::of(bound.relationship.config.mode).consuming(consumption),
        _ => Vec::new(),
    }
}

/// Why a binding does not have what it claims.
fn conflict(bound: &Bound<'_>, binding: &Binding, claims: &Claims) -> Option<Problem> {
    let age = &binding.identity.age;
    let facade = bound.facade.as_ref().and_then(|claim| claims.facade_conflict(claim, age));
    facade.or_else(|| bound.relay.as_ref().and_then(|claim| claims.relay_conflict(claim, age)))
}

impl Binds<'_> {
    fn output(self, claims: &Claims) -> Output {
        let Self { binding, bound, warnings } = self;
        let generation = binding.identity.generation;
        let bound = match bound {
            Ok(bound) => bound,
            Err(problem) => return Output::failed(Verdict::failed(generation, problem, warnings)),
        };
        let conflict = conflict(&bound, binding, claims);
        let has_name = conflict.is_none();
        let detail = Detail::of_binding(binding, &bound);
        let problems: Vec<_> = bound.consumption.err().into_iter().chain(conflict).collect();
        let in_place = problems.is_empty();
        Output {
            verdict: Some(Box::new(Verdict::of_binding(generation, problems, warnings, detail))),
            facade_port: bound
                .facade_port
                .filter(|port| in_place || port.route.is_none() && has_name)
                .map(Box::new),
            uses: bound.uses,
            relays: in_place && bound.relay.is_some(),
            ..Output::default()
        }
    }
}
