//! What is announced.

use anyhow::Result;
use emcee_core::catalogue::Offer;
use emcee_core::key::Key;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::shelf::{Shelf, Touched, Visibility};

use crate::credentials::RELATIONSHIP;

const NAMESPACE: &str = "shop";
/// Port of the ingress gateway's endpoints before the first change, and, with the number of a change added, after it.
const PORT: u16 = 15_443;

/// Offers a service for the first time, or once more with the change of that number.
pub(crate) fn offer(shelf: &mut Shelf, index: usize, change: u16) -> Result<Touched> {
    Ok(shelf.offer(RELATIONSHIP, &service(index, change)?, &Visibility::All)?)
}

/// A service behind a gateway of two replicas: one resource.
fn service(index: usize, change: u16) -> Result<Offer> {
    let name = format!("service-{index:06}");
    let endpoint = |host: &str| format!("{host}:{}", PORT + change).parse();
    Ok(Offer {
        key: Key::new(NAMESPACE, &name),
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
