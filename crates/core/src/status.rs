//! The status of each resource: verdicts, and the conditions and `status` fields built from them.
//!
//! A verdict has no times. [`build_conditions`] adds them, and preserves the old time of a condition that has not
//! changed.

mod conditions;
mod resource_status;
mod verdict;

pub use conditions::build_conditions;
pub use resource_status::build_status;
pub use verdict::{PeerStatusDetail, ResourceVerdict, StatusDetail};
