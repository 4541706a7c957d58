//! `breakerbox export`: the program's policies in the words of others.

use clap::{Args, Subcommand};

use super::out::say_all;
use super::{Done, Failure};
use crate::export::{Source, envoy, istio, resilience4j};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    /// `DestinationRules` and `VirtualServices` for Istio
    Istio {
        #[command(flatten)]
        output: Output,
        /// Export the default faults, as Istio fault injection, instead of the policies
        #[arg(long, conflicts_with = "gaps")]
        faults: bool,
        /// Policies for callers that also use the library: no retries, and at most half of the pods are ejected
        #[arg(long, conflicts_with_all = ["gaps", "faults"])]
        beside_library: bool,
    },
    /// Clusters and virtual hosts for Envoy
    Envoy {
        #[command(flatten)]
        output: Output,
    },
    /// application.yml for Spring Boot with Resilience4j
    Resilience4j {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Output {
    /// Print the settings that the target cannot express, as a Markdown page, instead of the export
    #[arg(long)]
    gaps: bool,
}

pub(super) fn run(args: &ExportArgs, settings: &Settings) -> Done {
    settings.validate().map_err(Failure::Refused)?;
    let source = Source::new(settings.blueprint().map_err(Failure::Refused)?);
    let text = match &args.format {
        Format::Istio { faults: true, .. } => istio::faults(&source),
        Format::Istio { beside_library: true, .. } => istio::beside_library(&source),
        Format::Istio { output, .. } if output.gaps => istio::lost(&source),
        Format::Istio { .. } => istio::policies(&source),
        Format::Envoy { output } if output.gaps => envoy::lost(&source),
        Format::Envoy { .. } => envoy::policies(&source),
        Format::Resilience4j { output } if output.gaps => resilience4j::lost(&source),
        Format::Resilience4j { .. } => resilience4j::policies(&source),
    };
    say_all!(text)
}
