//! Ports and protocols of imports. A user can change them, and a peer cannot.

use emcee_api::Reason;
use emcee_core::catalogue::Announcement;
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::protocol::Protocol;
use emcee_core::translate::Unit;
use serde_json::json;

use crate::imports::{Cluster, M2, blue_with_import};
use crate::mesh::input;
use crate::peer_inputs::{flat_announcement, peer_connected, peer_key};
use crate::plan::to_json as written;

fn peer_announces_as(peer: &str, port: u16, protocol: Protocol) -> InputChange {
    let reviews = ObjectKey::new("shop", "reviews");
    let announcement = Announcement { port, protocol, ..flat_announcement(&reviews, M2) };
    InputChange::Announcement(peer_key(peer), reviews, Some(announcement))
}

fn port_and_protocol(cluster: &Cluster) -> String {
    let objects = cluster.translation.objects_of(&Unit::Facade(ObjectKey::new("shop", "reviews")));
    let service = objects.iter().map(written).find(|object| object["kind"] == "Service").expect("a facade");
    let port = &service["spec"]["ports"][0];
    format!("{} {}", port["port"], port["appProtocol"])
}

fn changed_warning(cluster: &Cluster) -> Option<String> {
    let verdict = cluster.translation.verdict(&Unit::ServiceBinding(ObjectKey::new("shop", "reviews")))?;
    assert!(verdict.is_programmed(), "{verdict:?}");
    verdict.warnings.into_iter().find(|it| it.reason == Reason::AnnouncementChanged).map(|it| it.message)
}

/// Applications call an import by its port, and sidecars treat that port by its protocol.
#[test]
fn a_peer_does_not_change_an_imports_port_or_protocol() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces_as("m2", 9080, Protocol::Tcp)]);
    assert_eq!((port_and_protocol(&cluster), changed_warning(&cluster)), ("9080 \"tcp\"".into(), None));
    for (port, protocol) in [(3306, Protocol::Tcp), (9080, Protocol::Http), (3306, Protocol::Http)] {
        cluster.apply_changes([peer_announces_as("m2", port, protocol)]);
        assert_eq!(port_and_protocol(&cluster), "9080 \"tcp\"");
        let words = changed_warning(&cluster).expect("a warning");
        assert!(words.contains(&format!("now announces port {port}, protocol {protocol};")), "{words}");
    }
    let mut again = cluster.after_restart(vec![blue_with_import()]);
    again.apply_changes([peer_connected("m2"), peer_announces_as("m2", 3306, Protocol::Http)]);
    assert_eq!(port_and_protocol(&again), "9080 \"tcp\"", "also after a restart");
    cluster.apply_changes([peer_announces_as("m2", 9080, Protocol::Tcp)]);
    assert_eq!(changed_warning(&cluster), None);
}

#[test]
fn a_user_changes_an_imports_port_by_editing_or_deleting_it() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces_as("m2", 9080, Protocol::Tcp)]);
    cluster.apply_changes([peer_announces_as("m2", 3306, Protocol::Http)]);
    let mut edited = cluster.imports[0].clone();
    edited["spec"]["port"] = json!(3306);
    cluster.apply_changes([input::change(&edited)]);
    assert_eq!(port_and_protocol(&cluster), "3306 \"tcp\"");
    assert!(changed_warning(&cluster).is_some(), "a warning about the protocol");
    let freed = input::removal(&cluster.imports.remove(0));
    cluster.apply_changes([freed]);
    assert_eq!((port_and_protocol(&cluster), changed_warning(&cluster)), ("3306 \"http\"".into(), None));
}

/// An older Emcee wrote no port into its imports. Then applications call the port in the status.
#[test]
fn an_older_import_keeps_the_port_in_its_status() {
    let mut cluster = Cluster::new(vec![blue_with_import()]);
    cluster.apply_changes([peer_connected("m2"), peer_announces_as("m2", 9080, Protocol::Tcp)]);
    let mut older = cluster.imports[0].clone();
    for field in ["port", "protocol", "export_to"] {
        older["spec"].as_object_mut().expect("a spec").remove(field);
    }
    older["status"] =
        json!({"announcement": {"peer": "m2", "port": 9080, "protocol": "tcp", "endpoints": [M2]}});
    let mut upgraded = Cluster::new(vec![blue_with_import()]);
    upgraded.apply_changes([
        input::change(&older),
        peer_connected("m2"),
        peer_announces_as("m2", 3306, Protocol::Http),
    ]);
    assert_eq!(port_and_protocol(&upgraded), "9080 \"tcp\"");
}
