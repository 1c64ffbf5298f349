//! FLAT: pods of one mesh call pods of the other. The exposing side generates no objects; peers receive the
//! addresses of the pods.

use super::Style;
use crate::block::hop;
use crate::plan::Object;
use crate::resolve::{Consumption, Offer};

pub(super) struct Flat;

impl Style for Flat {
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object> {
        hop::to_endpoints(remote, &remote.server_name)
    }

    fn exposing(&self, _service: &Offer<'_>) -> Vec<Object> {
        Vec::new()
    }
}
