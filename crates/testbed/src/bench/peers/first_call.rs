//! From the creation of a service in one mesh to its first answered call in the other.

use std::time::Duration;

use anyhow::{Context, Result};

use super::outcomes::OutcomeStream;
use super::timeline::{CallParts, Timeline};
use super::users::{self, APPS, PORT};
use super::world::{PeersBed, announce_step};
use super::{PeersStyle, PeersSystem};
use crate::bench::raw_client::send_request;
use crate::bench::resources::BenchObject;
use crate::workload::microseconds_now;

/// Time limit for a call to be answered.
const PATIENCE: Duration = Duration::from_mins(1);
/// Services that exist before the timed ones, so that listeners, routes and connections exist.
const WARM: usize = 3;
/// Timed services of one system before it is the other system's turn.
const BLOCK: usize = 25;
/// Pause after a call, in which everything that belongs to it comes to an end: istiod waits 0.1 s for more changes.
const PAUSE: Duration = Duration::from_millis(500);

/// One first call.
#[derive(Debug, Clone)]
pub struct FirstCall {
    /// From sending the exposition, or the Service, to the answer.
    pub whole: Duration,
    /// Where the time went.
    pub parts: CallParts,
}

/// The first calls of a style and of its yardstick.
#[derive(Debug, Clone)]
pub struct FirstCalls {
    /// The style.
    pub style: PeersStyle,
    /// Those of Emcee.
    pub emcee: Vec<FirstCall>,
    /// Those of multi-primary.
    pub multi_primary: Vec<FirstCall>,
}

/// Measures that many calls of each system, in blocks that take turns.
pub(super) fn measure(bed: &PeersBed, style: PeersStyle, calls: usize) -> Result<FirstCalls> {
    let mut measured = FirstCalls { style, emcee: Vec::new(), multi_primary: Vec::new() };
    while measured.multi_primary.len() < calls {
        let block = BLOCK.min(calls - measured.multi_primary.len());
        measured.emcee.extend(measure_block(bed, PeersSystem::Emcee(style), block)?);
        measured.multi_primary.extend(measure_block(
            bed,
            PeersSystem::MultiPrimary(style.yardstick()),
            block,
        )?);
    }
    Ok(measured)
}

fn measure_block(bed: &PeersBed, system: PeersSystem, calls: usize) -> Result<Vec<FirstCall>> {
    announce_step(format_args!("first calls: {system:?} …"));
    bed.enter(system)?;
    bed.create_services(system, 0..WARM)?;
    let pod = format!("{APPS}/{}", PeersBed::caller(system));
    let to = format!("{}:{PORT}", bed.here.plan().node());
    let mut calls_of_pod = OutcomeStream::start(&bed.here, &pod, bed.program(), &to)?;
    for index in 0..WARM {
        wait_for_answer(&mut calls_of_pod, index)?;
    }
    let timed = WARM..WARM + calls;
    if let PeersSystem::Emcee(_) = system {
        bed.create_objects_there(timed.clone().map(users::service).collect())?;
    }
    std::thread::sleep(PAUSE);
    let results: Result<Vec<_>> =
        timed.map(|index| time_call(bed, &mut calls_of_pod, system, index)).collect();
    let results = results?;
    announce_step(format_args!("  {}", describe(&results)));
    Ok(results)
}

fn wait_for_answer(calls: &mut OutcomeStream, index: usize) -> Result<u64> {
    let host = users::service_host(index);
    calls.call_host(&host)?;
    Ok(calls.wait_for(&host, PATIENCE, |change| change.answer.is_some())?.at)
}

fn time_call(
    bed: &PeersBed,
    calls: &mut OutcomeStream,
    system: PeersSystem,
    index: usize,
) -> Result<FirstCall> {
    let object = match system {
        PeersSystem::Emcee(style) => users::exposition(index, style),
        PeersSystem::MultiPrimary(_) => users::service(index),
    };
    let host = users::service_host(index);
    let timeline = Timeline::begin(bed)?;
    calls.call_host(&host)?;
    calls.wait_for(&host, PATIENCE, |change| change.answer.is_none())?;
    let begun = microseconds_now();
    create_one(bed, &object)?;
    let answered = calls.wait_for(&host, PATIENCE, |change| change.answer.is_some());
    let answered = answered.with_context(|| format!("{system:?}: no answer of {}", object.key()))?.at;
    // Different pauses, so that no period of istiod or of the machine falls on the same part of every call.
    std::thread::sleep(PAUSE + Duration::from_millis(u64::try_from(index * 37 % 100)?));
    let parts = timeline.parts(bed, system, object.name(), begun, answered)?;
    Ok(FirstCall { whole: Duration::from_micros(answered.saturating_sub(begun)), parts })
}

fn create_one(bed: &PeersBed, object: &BenchObject) -> Result<()> {
    let (client, request, key) = (bed.there.client(), object.create_request(), object.key());
    bed.there.run(async move {
        let answer = send_request(&client, request).await?;
        anyhow::ensure!(answer.is_success(), "cannot create {key}: {}", answer.describe());
        Ok(())
    })
}

fn describe(calls: &[FirstCall]) -> String {
    let whole: Vec<Duration> = calls.iter().map(|call| call.whole).collect();
    let [half, most] = [50, 99].map(|percent| {
        crate::bench::formatting::milliseconds(
            crate::bench::durations::quantile(&whole, percent).unwrap_or_default(),
        )
    });
    format!("p50 {half}, p99 {most}")
}
