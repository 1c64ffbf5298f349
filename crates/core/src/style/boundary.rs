//! BOUNDARY: each gateway terminates its own mesh's TLS. Between the gateways, the relationship's certificate
//! is used.

use super::Style;
use crate::block::{egress_policy, tls_origination, tls_termination};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, ExposedService};

pub(super) struct Boundary;

impl Style for Boundary {
    /// Gives no identities for the egress pods. The ServiceEntry selects the pods, so Istio derives them
    /// itself.
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        let mut objects = tls_origination::to_egress(remote, &remote.host, &[]);
        objects.push(egress_policy::deny_other_callers(remote));
        objects.extend(tls_termination::to_remote(remote));
        objects
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        tls_termination::to_service(service)
    }
}
