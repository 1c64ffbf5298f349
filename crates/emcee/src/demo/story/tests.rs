//! A change of a relationship's policy also applies to announcements that a peer has already made.

use std::time::{Duration, Instant};

use super::*;
use crate::demo::prepare;

/// Time limit from the change of a file to the change of the objects, including the polls of the directories.
const SOON: Duration = Duration::from_secs(2);

/// State of the connection to a peer and since when, as text to compare.
fn connection(view: &View, relationship: &str, name: &str) -> String {
    format!(
        "{:?}",
        peer(view, relationship, name).and_then(|peer| peer.state.clone()).map(|state| state.connection)
    )
}

fn refused(view: &View) -> usize {
    peer(view, "blue", "m2").and_then(|peer| peer.state.as_ref()).map_or(0, |state| state.refused.len())
}

fn refused_there(view: &View) -> usize {
    peer(view, "blue", "m1")
        .and_then(|peer| peer.state.as_ref())
        .map_or(0, |state| state.refused_by_peer.len())
}

/// Uses real sockets, in file mode.
#[tokio::test]
async fn a_range_that_is_typed_wrongly_and_then_rightly_brings_everything_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut meshes = prepare(folder.path()).expect("meshes");
    meshes.m1.start().expect("it starts");
    let all_there =
        |view: &View| has_objects(view, "reviews") && has_objects(view, "ratings") && refused(view) == 0;
    let before = see(&meshes.m1, "reviews and ratings", all_there).await.expect("both");

    meshes.m1.edit("203.0.113.0/24", "198.51.100.0/24").expect("a typo");
    let typo = Instant::now();
    let gone =
        see(&meshes.m1, "reviews is refused", |view| !has_objects(view, "reviews") && refused(view) == 1);
    let gone = gone.await.expect("it acts");
    assert!(typo.elapsed() < SOON, "{:?}", typo.elapsed());
    assert!(has_objects(&gone, "ratings"), "announcements of the other peer are not affected");

    meshes.m1.edit("198.51.100.0/24", "203.0.113.0/24").expect("the fix");
    let fix = Instant::now();
    let back = see(&meshes.m1, "reviews is back", all_there).await.expect("it comes back");
    assert!(fix.elapsed() < SOON, "{:?}", fix.elapsed());
    assert_eq!(back.objects, before.objects);
    for (relationship, peer) in [("blue", "m2"), ("yellow", "m4")] {
        let (before, now) = (connection(&before, relationship, peer), connection(&back, relationship, peer));
        assert!(before == now && now.contains("Connected"), "{peer}: {before} became {now}");
    }
    see(&meshes.m2, "m2 learns that nothing is refused", |view| refused_there(view) == 0)
        .await
        .expect("it is told");
}

/// The last announcements of an unreachable peer stay in force, so a changed policy applies to them as well.
#[tokio::test]
async fn what_a_lost_peer_announced_is_judged_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut meshes = prepare(folder.path()).expect("meshes");
    meshes.m1.start().expect("it starts");
    see(&meshes.m1, "reviews", |view| has_objects(view, "reviews")).await.expect("it is there");
    meshes.m2.kill();
    let lost = |view: &View| peer(view, "blue", "m2").is_some_and(|peer| !connected(peer));
    see(&meshes.m1, "m2 is lost", lost).await.expect("it is lost");
    meshes.m1.edit("203.0.113.0/24", "198.51.100.0/24").expect("a typo");
    see(&meshes.m1, "it is refused", |view| !has_objects(view, "reviews")).await.expect("it goes");
    meshes.m1.edit("198.51.100.0/24", "203.0.113.0/24").expect("the fix");
    see(&meshes.m1, "it is back", |view| has_objects(view, "reviews") && lost(view))
        .await
        .expect("it comes back");
}
