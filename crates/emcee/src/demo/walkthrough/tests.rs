//! A change of a relationship's policy also applies to announcements that a peer has already made.

use std::time::{Duration, Instant};

use super::*;
use crate::demo::prepare_meshes;

/// Time limit from the change of a file to the change of the objects, including the polls of the directories.
const REACTION_TIME: Duration = Duration::from_secs(2);

/// State of the connection to a peer and since when, as text to compare.
fn connection(view: &FileModeView, relationship: &str, name: &str) -> String {
    format!(
        "{:?}",
        find_peer(view, relationship, name).and_then(|peer| peer.state.clone()).map(|state| state.connection)
    )
}

fn refused_here(view: &FileModeView) -> usize {
    find_peer(view, "blue", "m2").and_then(|peer| peer.state.as_ref()).map_or(0, |state| state.refused.len())
}

fn refused_by_m1(view: &FileModeView) -> usize {
    find_peer(view, "blue", "m1")
        .and_then(|peer| peer.state.as_ref())
        .map_or(0, |state| state.refused_by_peer.len())
}

/// Uses real sockets, in file mode.
#[tokio::test]
async fn correcting_a_mistyped_network_restores_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut meshes = prepare_meshes(folder.path()).expect("meshes");
    meshes.m1.start().expect("it starts");
    let all_there = |view: &FileModeView| {
        has_objects(view, "reviews") && has_objects(view, "ratings") && refused_here(view) == 0
    };
    let before = wait_until(&meshes.m1, "reviews and ratings", all_there).await.expect("both");

    meshes.m1.edit_resources("203.0.113.0/24", "198.51.100.0/24").expect("a typo");
    let typo = Instant::now();
    let gone = wait_until(&meshes.m1, "reviews is refused", |view| {
        !has_objects(view, "reviews") && refused_here(view) == 1
    });
    let gone = gone.await.expect("it acts");
    assert!(typo.elapsed() < REACTION_TIME, "{:?}", typo.elapsed());
    assert!(has_objects(&gone, "ratings"), "announcements of the other peer are not affected");

    meshes.m1.edit_resources("198.51.100.0/24", "203.0.113.0/24").expect("the fix");
    let fix = Instant::now();
    let back = wait_until(&meshes.m1, "reviews is back", all_there).await.expect("it comes back");
    assert!(fix.elapsed() < REACTION_TIME, "{:?}", fix.elapsed());
    assert_eq!(back.objects, before.objects);
    for (relationship, peer) in [("blue", "m2"), ("yellow", "m4")] {
        let (before, now) = (connection(&before, relationship, peer), connection(&back, relationship, peer));
        assert!(before == now && now.contains("Connected"), "{peer}: {before} became {now}");
    }
    wait_until(&meshes.m2, "m2 learns that nothing is refused", |view| refused_by_m1(view) == 0)
        .await
        .expect("it is told");
}

/// The last announcements of an unreachable peer stay in force, so a changed policy applies to them as well.
#[tokio::test]
async fn announcements_of_an_unreachable_peer_are_validated_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut meshes = prepare_meshes(folder.path()).expect("meshes");
    meshes.m1.start().expect("it starts");
    wait_until(&meshes.m1, "reviews", |view| has_objects(view, "reviews")).await.expect("it is there");
    meshes.m2.kill();
    let lost = |view: &FileModeView| find_peer(view, "blue", "m2").is_some_and(|peer| !is_connected(peer));
    wait_until(&meshes.m1, "m2 is lost", lost).await.expect("it is lost");
    meshes.m1.edit_resources("203.0.113.0/24", "198.51.100.0/24").expect("a typo");
    wait_until(&meshes.m1, "it is refused", |view| !has_objects(view, "reviews")).await.expect("it goes");
    meshes.m1.edit_resources("198.51.100.0/24", "203.0.113.0/24").expect("the fix");
    wait_until(&meshes.m1, "it is back", |view| has_objects(view, "reviews") && lost(view))
        .await
        .expect("it comes back");
}
