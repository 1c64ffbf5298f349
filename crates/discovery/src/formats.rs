//! Announcements as bytes: EndpointSlices, OpenAPI documents, and bundle files.

pub mod bundle;
pub mod endpoint_slice;
mod field_problem;
pub mod openapi;

pub use field_problem::FieldProblem;
