//! What a benchmark of the controller measures with.

pub mod counters;
pub mod durations;
