//! BOUNDARY: each gateway terminates its own mesh's TLS. Between the gateways, the relationship's certificate
//! is used.

use super::Style;
use crate::block::{guard, hop, terminating_relay};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, ExposedService};

pub(super) struct Boundary;

impl Style for Boundary {
    /// Gives no identities for the egress pods. The ServiceEntry selects the pods, so Istio derives them
    /// itself.
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        let mut objects = hop::to_egress(remote, &remote.host, &[]);
        objects.push(guard::deny_other_callers(remote));
        objects.extend(terminating_relay::to_remote(remote));
        objects
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        terminating_relay::to_service(service)
    }
}
