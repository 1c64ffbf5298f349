//! Changes that end an authenticated connection, and changes that do not.

use std::sync::Arc;
use std::time::Duration;

use emcee_discovery::transport::tls::{PeerCertificateError, ReverifyError, TlsIdentity, TlsRelationships};
use emcee_testkit::certs::{Ca, Leaf, unix};

use super::secrets;
use super::tls::authenticate_m2;

fn relationships_with_blue(change: impl FnOnce() -> TlsIdentity, peers: &[&str]) -> TlsRelationships {
    secrets::relationships([secrets::with_peers("blue", change(), peers)])
}

#[tokio::test]
async fn a_connection_that_is_still_trusted_continues() {
    let mut m2 =
        authenticate_m2(&secrets::relationships_of_m1(), &secrets::relationship("blue", "m2", &["m1"])).await;
    let (old, new) = (Ca::shared("blue"), Ca::new("new"));
    let renewed = || secrets::tls_identity(&secrets::valid_pair("m1", "blue"));
    let both = || secrets::tls_identity(&secrets::valid_pair("m1", "blue").with_roots([old, &new]));
    for same_for_m2 in
        [relationships_with_blue(renewed, &["m2", "m3"]), relationships_with_blue(both, &["m2"])]
    {
        assert_eq!(m2.reverify(&same_for_m2), Ok(()));
    }
}

#[tokio::test]
async fn a_connection_ends_if_its_relationship_ca_or_name_is_removed() {
    let m1 = secrets::relationships_of_m1();
    let m2 = authenticate_m2(&m1, &secrets::relationship("blue", "m2", &["m1"])).await;
    let good = || secrets::tls_identity(&secrets::valid_pair("m1", "blue"));
    let other_ca = || secrets::tls_identity(&Ca::new("blue").issue(&Leaf::dns("m1.blue.example")));

    assert_eq!(m2.clone().reverify(&m1), Ok(()));
    assert_eq!(m2.clone().reverify(&TlsRelationships::new()), Err(ReverifyError::RelationshipClosed));
    let refused = m2.clone().reverify(&relationships_with_blue(other_ca, &["m2"]));
    assert_eq!(refused, Err(ReverifyError::Certificate(PeerCertificateError::UnknownCa)));
    let refused = m2.clone().reverify(&relationships_with_blue(good, &["m3"]));
    assert!(matches!(refused, Err(ReverifyError::Certificate(PeerCertificateError::WrongNames { .. }))));
}

#[tokio::test]
async fn a_connection_ends_if_its_certificate_is_revoked_or_reassigned() {
    let pair = secrets::valid_pair("m2", "blue");
    let own = secrets::with_peers("blue", secrets::tls_identity(&pair), &["m1"]);
    let m2 = authenticate_m2(&secrets::relationships_of_m1(), &own).await;

    let crl = secrets::crl(Ca::shared("blue"), [&pair]);
    let m1 = secrets::key_material(&secrets::valid_pair("m1", "blue"));
    let revoking = relationships_with_blue(
        || TlsIdentity::parse(&secrets::with_crl(&m1, crl.as_bytes())).unwrap(),
        &["m2"],
    );
    assert_eq!(
        m2.clone().reverify(&revoking),
        Err(ReverifyError::Certificate(PeerCertificateError::Revoked))
    );

    let material = secrets::tls_identity(&secrets::valid_pair("m1", "blue"));
    let names = [emcee_discovery::transport::tls::SubjectAltName::from("m2.blue.example")];
    let renamed = emcee_discovery::transport::tls::TlsRelationship::new("blue", material, [("m5", names)]);
    let renamed = secrets::relationships([Arc::new(renamed)]);
    assert_eq!(m2.clone().reverify(&renamed), Err(ReverifyError::OtherPeer("m5".into())));
}

#[tokio::test]
async fn a_connection_is_valid_until_its_certificate_or_ca_expires() {
    let at = |days: i64| unix(jiff::Timestamp::now().as_second() + days * 86_400);
    let ca = Ca::valid_between("short", at(-1), at(10));
    for (leaf_ends, expected) in [(3, 3), (20, 10)] {
        let issue = |mesh: &str| {
            let leaf = Leaf::dns(&secrets::certificate_name(mesh, "blue"))
                .not_before(at(-1))
                .not_after(at(leaf_ends));
            secrets::tls_identity(&ca.issue(&leaf))
        };
        let m1 = relationships_with_blue(|| issue("m1"), &["m2"]);
        let m2 = authenticate_m2(&m1, &secrets::with_peers("blue", issue("m2"), &["m1"])).await;
        let end = Duration::from_secs(expected * 86_400);
        let left = m2.remaining_validity();
        assert!(left <= end && left > end.saturating_sub(Duration::from_mins(5)), "{left:?}");
    }
}
