//! `golden/` holds each message as others code writes it; see its README.
