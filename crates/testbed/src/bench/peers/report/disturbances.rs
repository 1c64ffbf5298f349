//! The table of disturbances.

use std::time::Duration;

use crate::bench::durations::quantile;
use crate::bench::formatting::milliseconds;
use crate::bench::peers::{DisturbanceColumn, Disturbances};
use crate::bench::table::{self, Row};

/// A column for each style.
pub(super) fn render_disturbances(columns: &[DisturbanceColumn]) -> String {
    table::render_markdown(&rows(), columns, |column| {
        format!("{}, {} times", column.style.as_str(), column.emcee.withdrawn_last_answer.len())
    })
}

/// Emcee's median and greatest value, then those of multi-primary.
fn compare(column: &DisturbanceColumn, of: fn(&Disturbances) -> &Vec<Duration>) -> String {
    let both = [&column.emcee, &column.multi_primary].map(|system| {
        let times = of(system);
        let [half, most] = [50, 100].map(|percent| quantile(times, percent));
        half.zip(most).map_or_else(
            || "no gateway".to_owned(),
            |(half, most)| format!("{} ({})", milliseconds(half), milliseconds(most)),
        )
    });
    both.join(", ")
}

fn rows() -> Vec<Row<DisturbanceColumn>> {
    vec![
        Row::without_target(
            "new pod ready → its first answer: Emcee, multi-primary, median (most)",
            |column| compare(column, |system| &system.pod_first_answer),
        ),
        Row::without_target("new pod ready → last failed call (0: none failed)", |column| {
            compare(column, |system| &system.pod_last_failure)
        }),
        Row::without_target("new address of the ingress → last failed call (0: none failed)", |column| {
            compare(column, |system| &system.gateway_last_failure)
        }),
        Row::without_target("service withdrawn → last answered call", |column| {
            compare(column, |system| &system.withdrawn_last_answer)
        }),
    ]
}
