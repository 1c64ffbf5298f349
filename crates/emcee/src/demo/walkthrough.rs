//! The steps of the demo, in order. Each step waits for its result, and fails if the result does not appear in time.

use std::time::Duration;

use anyhow::{Context as _, bail};
use emcee_core::catalogue::{CatalogueReport, PeerReport, PeerSyncState};
use emcee_core::plan::GeneratedObject;

use super::output::{self, plural};
use super::{DemoMesh, DemoMeshes};
use crate::console::Console;
use crate::run::file_mode::FileModeView;

/// Time limit for the result of one step. Each usually takes a second or two.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the steps of the demo, and prints their results.
pub(super) struct Walkthrough<'a, 'c, 'o> {
    meshes: &'a mut DemoMeshes,
    console: &'c mut Console<'o>,
}

impl<'a, 'c, 'o> Walkthrough<'a, 'c, 'o> {
    pub(super) fn new(meshes: &'a mut DemoMeshes, console: &'c mut Console<'o>) -> Self {
        Self { meshes, console }
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// A step failed. The error names the result that did not appear, and the directories of the mesh.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        self.print(output::OPENING)?;
        self.meshes.m1.start()?;
        self.show_announcements().await?;
        self.show_received().await?;
        self.show_objects().await?;
        self.show_withdrawal().await?;
        let held = self.show_lost_peer().await?;
        self.show_reconnect(&held).await?;
        self.print(output::CLOSING)
    }

    async fn show_announcements(&mut self) -> anyhow::Result<()> {
        self.print_heading("What each mesh announces, and to whom")?;
        let m2 = wait_until(&self.meshes.m2, "m2 announces reviews to m1, and not httpbin", |view| {
            names_of_peer(view, "blue", "m1", announced_names) == ["reviews"]
        });
        let m4 = wait_until(&self.meshes.m4, "m4 announces ratings to m1", |view| {
            names_of_peer(view, "yellow", "m1", announced_names) == ["ratings"]
        });
        // Printed only when both have arrived, so that the table is the same in each run.
        let (m2, m4) = (m2.await?, m4.await?);
        self.print(&output::announced_table(&[("m2", &m2), ("m4", &m4)]))?;
        self.print("httpbin of m2 is exposed as well, with directory: false. m1 can call it, but it is not announced.\n")
    }

    async fn show_received(&mut self) -> anyhow::Result<()> {
        self.print_heading("What m1 receives")?;
        let view = wait_until(&self.meshes.m1, "m1 uses reviews of m2 and ratings of m4", |view| {
            bound_names(view, "blue", "m2") == ["reviews"] && bound_names(view, "yellow", "m4") == ["ratings"]
        });
        let view = view.await?;
        self.print(&output::received_table(&view))?;
        self.print(
            "reviews was bound automatically (import: Automatic). ratings was bound by a user: its ServiceBinding contains\n\
             neither endpoints nor identities, as discovery provides them.\n",
        )
    }

    async fn show_objects(&mut self) -> anyhow::Result<()> {
        self.print_heading("The Istio objects in m1")?;
        let view = wait_until(&self.meshes.m1, "m1 has objects for both", |view| {
            has_objects(view, "reviews") && has_objects(view, "ratings")
        });
        let view = view.await?;
        self.print(&output::objects_table(&view))?;
        self.print(
            "Applications in m1 call http://reviews:9080 and http://ratings:9080, as if both ran in m1.\n",
        )
    }

    async fn show_withdrawal(&mut self) -> anyhow::Result<()> {
        self.print_heading("m2 no longer announces reviews")?;
        self.meshes.m2.edit_resources("directory: true", "directory: false")?;
        let view = wait_until(&self.meshes.m1, "m1 removes reviews", |view| {
            bound_names(view, "blue", "m2").is_empty()
                && !has_objects(view, "reviews")
                && has_objects(view, "ratings")
        });
        let view = view.await?;
        let left = view.objects.len();
        self.print(&format!(
            "m1 has removed the ServiceBinding for reviews and its objects. ratings is unchanged ({}).\n",
            plural(left, "object")
        ))?;
        // Replaces the first occurrence: that of reviews, which the edit above changed. httpbin's comes later in the
        // file.
        self.meshes.m2.edit_resources("directory: false", "directory: true")?;
        let back = wait_until(&self.meshes.m1, "reviews is back", |view| {
            bound_names(view, "blue", "m2") == ["reviews"] && has_objects(view, "reviews")
        });
        back.await?;
        self.print("m2 announces reviews again, and m1 binds it again.\n")
    }

    /// Kills m2's Emcee. Returns the objects of m1 afterwards, which the next step compares with.
    async fn show_lost_peer(&mut self) -> anyhow::Result<Vec<GeneratedObject>> {
        self.print_heading("m2's Emcee is killed")?;
        self.meshes.m2.kill();
        let view = wait_until(&self.meshes.m1, "m1 has lost m2, and keeps the objects for reviews", |view| {
            let lost = find_peer(view, "blue", "m2").is_some_and(|peer| !is_connected(peer));
            // The other relationship must stay connected.
            let other = find_peer(view, "yellow", "m4").is_some_and(is_connected);
            lost && other && bound_names(view, "blue", "m2") == ["reviews"] && has_objects(view, "reviews")
        });
        let view = view.await?;
        self.print(&output::peers_table(&view))?;
        self.print(
            "An unreachable peer is not a withdrawal: all objects for reviews stay in place, and traffic would continue.\n\
             The relationship yellow is not affected.\n",
        )?;
        Ok(view.objects)
    }

    async fn show_reconnect(&mut self, held: &[GeneratedObject]) -> anyhow::Result<()> {
        self.print_heading("m2's Emcee is back")?;
        self.meshes.m2.start()?;
        let view = wait_until(&self.meshes.m1, "m1 is connected to m2 again", |view| {
            find_peer(view, "blue", "m2").is_some_and(is_connected) && view.objects == held
        });
        let view = view.await?;
        self.print(&output::peers_table(&view))?;
        self.print("All objects in m1 are unchanged.\n")
    }

    fn print_heading(&mut self, title: &str) -> anyhow::Result<()> {
        self.print(&format!("\n== {title}\n\n"))
    }

    fn print(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.console.print_data(text)?)
    }
}

/// Waits until the view of a mesh satisfies `is`, and returns that view. `what` describes it in the error.
async fn wait_until(
    mesh: &DemoMesh,
    what: &str,
    is: impl FnMut(&FileModeView) -> bool,
) -> anyhow::Result<FileModeView> {
    let mut views = mesh.subscribe_views();
    let mut is = is;
    // Evaluated on the current view first: a result that is already there does not have to change again.
    let seen = tokio::time::timeout(STEP_TIMEOUT, views.wait_for(|view| is(view))).await;
    match seen {
        Ok(seen) => Ok(seen.with_context(|| format!("{} has stopped", mesh.name))?.clone()),
        Err(_) => bail!(
            "not observed within {} s: {what} (folders of the mesh: {} and {})",
            STEP_TIMEOUT.as_secs(),
            mesh.dir.display(),
            mesh.out.display()
        ),
    }
}

fn find_peer<'v>(view: &'v FileModeView, relationship: &str, name: &str) -> Option<&'v PeerReport> {
    let listing: &CatalogueReport =
        view.listing.iter().find(|listing| listing.relationship == relationship)?;
    listing.peers.iter().find(|peer| &*peer.name == name)
}

fn is_connected(peer: &PeerReport) -> bool {
    peer.state.as_ref().is_some_and(PeerSyncState::is_connected)
}

fn announced_names(peer: &PeerReport) -> Vec<&str> {
    peer.announced_to_peer.iter().map(|announcement| &*announcement.key.name).collect()
}

/// Names of those services announced by a peer that at least one ServiceBinding uses.
fn bound_names<'v>(view: &'v FileModeView, relationship: &str, name: &str) -> Vec<&'v str> {
    let used = |peer: &'v PeerReport| {
        let bound = peer.announced_by_peer.iter().filter(|announced| !announced.bindings.is_empty());
        bound.map(|announced| &*announced.announcement.key.name).collect()
    };
    find_peer(view, relationship, name).map(used).unwrap_or_default()
}

fn names_of_peer<'v>(
    view: &'v FileModeView,
    relationship: &str,
    name: &str,
    of: fn(&'v PeerReport) -> Vec<&'v str>,
) -> Vec<&'v str> {
    find_peer(view, relationship, name).map(of).unwrap_or_default()
}

/// Whether objects of Istio's kinds exist whose owner has that name.
fn has_objects(view: &FileModeView, facade: &str) -> bool {
    view.objects
        .iter()
        .any(|object: &GeneratedObject| object.kind().is_istio() && *object.owner.key.name == *facade)
}

#[cfg(test)]
mod tests;
