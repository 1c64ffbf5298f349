//! `google/protobuf/any.proto`, `google/rpc/status.proto`, `google/rpc/error_details.proto`, `google/rpc/code.proto`.

use prost::bytes::Bytes;

/// `google.protobuf.Any`: an encoded message with its type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Type URL of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message in its encoded form.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.rpc.Status`: an error with details.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// Number of a [`Code`].
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// Description of the error for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Details of the error for programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.rpc.BadRequest`: the invalid parts of a request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BadRequest {
    /// One violation for each invalid part.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`: one invalid part of a request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldViolation {
    /// The invalid part: in a NACK, the name of a resource.
    #[prost(string, tag = "1")]
    pub field: String,
    /// What is wrong with it, for people.
    #[prost(string, tag = "2")]
    pub description: String,
}

/// `google.rpc.Code`: the values with which streams end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The request is invalid; retrying it unchanged fails again.
    InvalidArgument = 3,
    /// The client exceeds a limit.
    ResourceExhausted = 8,
    /// The client has to start again with a new stream.
    Aborted = 10,
}
