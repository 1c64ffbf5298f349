//! How each resource is: conditions without times, and what its status shows.
//!
//! Times are added at the edge, by [`conditions()`], which keeps the old one where nothing changed.

mod conditions;
mod object;
mod verdict;

pub use conditions::conditions;
pub use object::status;
pub use verdict::{Detail, PeerDetail, Verdict};
