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

/// `google.rpc.Code`: the status codes of gRPC, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The call was cancelled, usually by the client.
    Cancelled = 1,
    /// The code is unknown here, or the error has no other code.
    Unknown = 2,
    /// The request is invalid; retrying it unchanged fails again.
    InvalidArgument = 3,
    /// The call took longer than its deadline.
    DeadlineExceeded = 4,
    /// A requested item does not exist.
    NotFound = 5,
    /// An item that the client wants to create exists already.
    AlreadyExists = 6,
    /// The client may not make this call.
    PermissionDenied = 7,
    /// The client exceeds a limit.
    ResourceExhausted = 8,
    /// The server is not in the state that the call requires.
    FailedPrecondition = 9,
    /// The client has to start again with a new stream.
    Aborted = 10,
    /// An argument is beyond the valid range.
    OutOfRange = 11,
    /// The server does not implement the method.
    Unimplemented = 12,
    /// The server has failed internally.
    Internal = 13,
    /// The server is not available; the client should retry.
    Unavailable = 14,
    /// Data is lost or corrupt.
    DataLoss = 15,
    /// The client has not authenticated.
    Unauthenticated = 16,
}
