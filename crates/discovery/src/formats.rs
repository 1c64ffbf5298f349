//! Announcements as bytes: EndpointSlices, OpenAPI documents, and bundle files.

pub mod bundle;
pub mod endpoint_slice;
pub mod openapi;
