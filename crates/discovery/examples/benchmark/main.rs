//! Processes of the discovery benchmark: Emcee's server, a plain tonic server, and subscribers to either.
//!
//! ```text
//!   certificates FILE PEERS            writes the keys that the others read
//!   server       FILE SERVICES         Emcee: cache and server
//!   broadcast    FILE SERVICES         tonic: the same bytes, encoded once, to everyone
//!   subscribers  FILE SERVICES ADDRESS all peers in FILE, each on its own connection
//! ```
//!
//! Each process reads commands from stdin, answers on stdout, and ends when stdin ends. `emcee-testbed bench
//! discovery` starts them. They are in this crate because the test bed must not know the internals of Emcee.

mod announcements;
mod broadcast;
mod credentials;
mod line_protocol;
mod server;
mod subscribers;

use std::path::Path;

use anyhow::{Context, Result, bail};

use credentials::Credentials;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, file, rest @ ..] = &arguments[..] else { bail!("missing arguments: ROLE FILE ...") };
    let file = Path::new(file);
    match (&**role, rest) {
        ("certificates", [peers]) => Credentials::generate(parse_number(peers)?).write(file),
        ("server", [services]) => server::run(&Credentials::read(file)?, parse_number(services)?),
        ("broadcast", [services]) => broadcast::run(&Credentials::read(file)?, parse_number(services)?),
        ("subscribers", [services, address]) => {
            let address = address.parse().with_context(|| format!("invalid address: {address:?}"))?;
            subscribers::run(Credentials::read(file)?, parse_number(services)?, address)
        }
        _ => bail!("unknown role or wrong arguments: {arguments:?}"),
    }
}

fn parse_number(text: &str) -> Result<usize> {
    text.parse().with_context(|| format!("invalid number: {text:?}"))
}
