//! The processes of the discovery benchmark: Emcee's server, a bare tonic server, and those who subscribe to either.
//!
//! ```text
//!   certificates FILE PEERS            writes what the others read
//!   server       FILE SERVICES         Emcee: shelf, announcer, server
//!   broadcast    FILE SERVICES         tonic: the same bytes, encoded once, to everybody
//!   subscribers  FILE SERVICES ADDRESS everybody in FILE, each over a connection of its own
//! ```
//!
//! Each is told what to do by lines on stdin, answers by lines on stdout, and ends with its stdin. Who starts them is
//! `emcee-testbed bench discovery`. They are here, and not there, as the test bed may know nothing of Emcee's inside.

mod broadcast;
mod credentials;
mod lines;
mod offers;
mod server;
mod subscribers;

use std::path::Path;

use anyhow::{Context, Result, bail};

use credentials::Credentials;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, file, rest @ ..] = &arguments[..] else { bail!("which role, and which file?") };
    let file = Path::new(file);
    match (&**role, rest) {
        ("certificates", [peers]) => Credentials::make(number(peers)?).write(file),
        ("server", [services]) => server::run(&Credentials::read(file)?, number(services)?),
        ("broadcast", [services]) => broadcast::run(&Credentials::read(file)?, number(services)?),
        ("subscribers", [services, address]) => {
            let address = address.parse().with_context(|| format!("no address: {address:?}"))?;
            subscribers::run(Credentials::read(file)?, number(services)?, address)
        }
        _ => bail!("no such role, or not its arguments: {arguments:?}"),
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().with_context(|| format!("no number: {text:?}"))
}
