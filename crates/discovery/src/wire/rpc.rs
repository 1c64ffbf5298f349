//! `google/protobuf/any.proto`, `google/rpc/status.proto`, `google/rpc/error_details.proto`, `google/rpc/code.proto`.

use prost::bytes::Bytes;

/// `google.protobuf.Any`: a message with its type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// The type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.rpc.Status`: an error, with details.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// A [`Code`], as a number.
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The error, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The error, for programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.rpc.BadRequest`: what is wrong with which part.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BadRequest {
    /// Each part.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldViolation {
    /// The part; in a NACK, a resource's name.
    #[prost(string, tag = "1")]
    pub field: String,
    /// What is wrong with it.
    #[prost(string, tag = "2")]
    pub description: String,
}

/// `google.rpc.Code`: those with which streams end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The client's request is wrong; the same again will be refused again.
    InvalidArgument = 3,
    /// The client wants more than it may have.
    ResourceExhausted = 8,
    /// The client shall begin again with a new stream.
    Aborted = 10,
}
