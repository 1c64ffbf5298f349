//! The status of each resource: verdicts, and the conditions and `status` fields built from them.
//!
//! A verdict has no times. [`build_conditions`] adds them, and preserves the old time of a condition that has not
//! changed.

mod conditions;
mod object;
mod verdict;

pub use conditions::conditions;
pub use object::status;
pub use verdict::{Detail, PeerDetail, Verdict};
