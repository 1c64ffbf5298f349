//! Translates users' resources into a plan of Kubernetes and Istio objects. Pure and synchronous.
//!
//! ```text
//!  objects ──► parse ──► inputs ──► resolve ──► style ──► plan      the objects to apply
//!              (valid)   (facts)    (complete)  (blocks)  status    the verdict on each resource
//!                        └───────── translate ─────────┘            applies changes incrementally
//! ```
//!
//! * [`parse`]: turns an object that a user wrote into a valid model, or into the list of everything that is wrong.
//! * `policy`: decides which addresses, host names and server names a peer, or a user of a namespace, may name.
//! * [`inputs`]: these models, and the facts that are needed from other objects.
//! * [`resolve`]: everything that depends on other objects: gateways, certificates, services, endpoints.
//! * [`style`] and `block`: the objects that each of the four styles generates.
//! * [`plan`]: the generated objects. [`status`]: the verdicts.
//! * [`translate`]: runs all this, and after a change only the parts that the change affects.
//!
//! No I/O, no clock, no environment, no async: the time and the mesh's settings are in
//! [`inputs::TranslationSettings`].

mod block;
pub mod catalogue;
pub mod diff;
pub mod endpoint;
pub mod inputs;
pub mod key;
pub mod labels;
pub mod mode;
pub mod names;
pub mod parse;
pub mod plan;
mod policy;
pub mod ports;
pub mod problem;
pub mod protocol;
pub mod resolve;
mod small_set;
pub mod status;
pub mod style;
pub mod text;
pub mod translate;
pub mod uid;
