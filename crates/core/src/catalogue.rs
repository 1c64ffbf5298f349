//! What meshes tell each other: [`Offer`]s.

mod offer;

pub use offer::Offer;
