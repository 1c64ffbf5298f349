//! The results as tables.

mod calls;
mod costs;
mod disturbances;

use super::{DisturbanceColumn, FirstCalls, ServiceCost};

/// Everything that was measured.
#[derive(Debug)]
pub struct PeersOutcome {
    /// Costs of the services, of every round.
    pub costs: Vec<ServiceCost>,
    /// First calls of each style.
    pub calls: Vec<FirstCalls>,
    /// Disturbances of each style.
    pub disturbances: Vec<DisturbanceColumn>,
}

/// The results as Markdown: a table for each part that was measured.
#[must_use]
pub fn markdown(outcome: &PeersOutcome) -> String {
    let parts = [
        ("### What a service costs", !outcome.costs.is_empty(), costs::render_costs(&outcome.costs)),
        (
            "### From a service's creation to its first answered call",
            !outcome.calls.is_empty(),
            calls::render_calls(&outcome.calls),
        ),
        (
            "### When something changes",
            !outcome.disturbances.is_empty(),
            disturbances::render_disturbances(&outcome.disturbances),
        ),
    ];
    let measured = parts.into_iter().filter(|(_, exists, _)| *exists);
    measured.map(|(title, _, table)| format!("{title}\n\n{table}")).collect::<Vec<_>>().join("\n")
}
