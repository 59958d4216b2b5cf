//! `headwater openapi`: prints the document that describes the hub's API.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use clap::{Args as ClapArgs, ValueEnum};
use headwater::OpenApi;
use headwater_hub::{Hub, Options};
use headwater_log::MemoryLog;

use crate::exit::Failure;

#[derive(ClapArgs)]
pub(crate) struct Document {
    /// The version of the OpenAPI Specification
    #[arg(
        long = "openapi-version",
        value_name = "VERSION",
        default_value = "3.2"
    )]
    version: Version,
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "3.1")]
    V3_1,
    #[value(name = "3.2")]
    V3_2,
}

pub(crate) fn run(args: &Document) -> Result<(), Failure> {
    let version = match args.version {
        Version::V3_1 => OpenApi::V3_1,
        Version::V3_2 => OpenApi::V3_2,
    };
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), Options::new().index());
    let document = hub.app().openapi(version);
    match writeln!(io::stdout(), "{document:#}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
