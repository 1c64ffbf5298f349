//! What is offered, encoded once.

use emcee_core::catalogue::Offer;
use emcee_discovery::Audience;
use emcee_discovery::session::{Limits, Session};
use emcee_discovery::shelf::{Shelf, Visibility};

use crate::trace::{Stream, at, key, offer, peers, put, request, says, shelf};

#[test]
fn a_resource_is_encoded_once_for_all_who_receive_it() {
    let shelf = shelf(["reviews"]);
    let bytes = ["m1", "m2", "m1"].map(|peer| {
        let mut session = Session::new(Audience::new("blue", peer), Limits::default());
        session.receive(&request().0, &shelf).unwrap();
        session.next(&shelf).unwrap().unwrap().resources[0].as_ptr()
    });
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn the_same_again_touches_nobody() {
    let mut shelf = shelf(["reviews"]);
    assert!(shelf.offer("blue", &offer("reviews"), &Visibility::All).unwrap().is_empty());
    assert!(shelf.withdraw("blue", &key("never")).is_empty());
    assert!(shelf.withdraw("never", &key("reviews")).is_empty());
}

#[test]
fn a_change_touches_those_who_may_see_it() {
    let mut shelf = Shelf::default();
    let touched = shelf.offer("blue", &offer("reviews"), &peers(["m1", "m2"])).unwrap();
    for (relationship, peer, expected) in
        [("blue", "m1", true), ("blue", "m2", true), ("blue", "m3", false), ("yellow", "m1", false)]
    {
        assert_eq!(touched.contains(&Audience::new(relationship, peer)), expected, "{relationship} {peer}");
        assert_eq!(shelf.count(&Audience::new(relationship, peer)), usize::from(expected));
    }
    let unlisted = shelf.offer("blue", &offer("ratings"), &peers([])).unwrap();
    assert!(!unlisted.contains(&Audience::new("blue", "m1")));
}

#[test]
fn what_cannot_be_announced_leaves_what_was() {
    let mut shelf = shelf(["reviews"]);
    let bad = Offer { server_name: "no name".into(), ..at("reviews", &[]) };
    let error = shelf.offer("blue", &bad, &Visibility::All).unwrap_err();
    assert!(error.to_string().contains("emcee.io/server-name"), "{error}");
    let mut client = Stream::asking(&shelf, request());
    assert_eq!(client.hear(&shelf), [says("1").offers(["default/reviews/IPv4"])]);
}

#[test]
fn a_closed_relationship_offers_nothing_and_the_others_go_on() {
    let mut shelf = shelf(["reviews"]);
    let _ = shelf.offer("yellow", &offer("ratings"), &Visibility::All).unwrap();
    shelf.close("blue");
    assert_eq!(shelf.count(&Audience::new("blue", "m1")), 0);
    assert_eq!(shelf.offered("yellow").collect::<Vec<_>>(), [&key("ratings")]);
    put(&mut shelf, &offer("details"));
    assert_eq!(shelf.offered("blue").collect::<Vec<_>>(), [&key("details")]);
}
