//! The announced services.

use anyhow::Result;
use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::delta::cache::{ChangedViews, PeerVisibility, ResourceCache};

use crate::credentials::RELATIONSHIP;

const NAMESPACE: &str = "shop";
/// Port of the ingress gateway's endpoints before the first change. Each change adds its number.
const BASE_PORT: u16 = 15_443;

/// Announces a service, at first with change 0 and later with the number of a change.
pub(crate) fn announce_service(cache: &mut ResourceCache, index: usize, change: u16) -> Result<ChangedViews> {
    Ok(cache.announce(RELATIONSHIP, &build_announcement(index, change)?, &PeerVisibility::All)?)
}

/// A service behind a gateway with two replicas: one resource.
fn build_announcement(index: usize, change: u16) -> Result<Announcement> {
    let name = format!("service-{index:06}");
    let endpoint = |host: &str| format!("{host}:{}", BASE_PORT + change).parse();
    Ok(Announcement {
        key: ObjectKey::new(NAMESPACE, &name),
        mode: Mode::Boundary,
        server_name: names::server_name(&name, NAMESPACE, RELATIONSHIP),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec![endpoint("203.0.113.7")?, endpoint("203.0.113.8")?],
        identities: Vec::new(),
        trust_domain: "m1.example".into(),
        root_hash: None,
    })
}
