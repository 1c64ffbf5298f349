//! FLAT: pods of one mesh call pods of the other. The exposing side generates no objects; peers receive the
//! addresses of the pods.

use super::Style;
use crate::block::tls_origination;
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, ExposedService};

pub(super) struct Flat;

impl Style for Flat {
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        tls_origination::to_endpoints(remote, &remote.server_name)
    }

    fn exposing_objects(&self, _service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        Vec::new()
    }
}
