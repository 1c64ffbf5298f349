//! From users' resources to a plan of Istio configuration: pure and synchronous.
//!
//! ```text
//!  objects ──► parse ──► inputs ──► resolve ──► style ──► plan      what is to be applied
//!              (valid)   (facts)    (complete)  (blocks)  status    how each resource is
//!                        └───────── translate ─────────┘            follows changes
//! ```
//!
//! * [`parse`]: an object as a user wrote it becomes a model that can only be valid, or a list of all that is wrong.
//! * `policy`: what a peer, or a user of a namespace, may name: addresses, host names, server names.
//! * [`inputs`]: those models, and the facts that are needed of other objects.
//! * [`resolve`]: everything that depends on other objects: gateways, certificates, services, endpoints.
//! * [`style`] and `block`: what each of the four styles writes.
//! * [`plan`]: the objects; [`status`]: the verdicts.
//! * [`translate`]: runs all this, and after a change only what the change reaches.
//!
//! No I/O, no clock, no environment, no async: time and surroundings are [`inputs::Settings`].

mod block;
pub mod catalogue;
pub mod diff;
pub mod endpoint;
pub mod inputs;
pub mod key;
pub mod labels;
mod members;
pub mod mode;
pub mod names;
pub mod parse;
pub mod plan;
mod policy;
pub mod problem;
pub mod protocol;
pub mod resolve;
pub mod status;
pub mod style;
pub mod text;
pub mod translate;
pub mod uid;
