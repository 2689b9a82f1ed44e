//! One function per command: ask, then print.

mod cluster;
mod config;
mod log;
mod neighbor;
mod policy;
mod routes;
mod rpki;

use std::io::Write;

use bgpd_proto::v1;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use clap::CommandFactory;

use crate::arguments::{Command, Format, Neighbors, Show, Watch};
use crate::client::{Connection, Server};
use crate::{Arguments, Error, decode, output};

/// What every command has at hand.
struct Context {
    server: Server,
    format: Format,
}

impl Context {
    async fn connect(&self) -> Result<Connection, Error> {
        self.server.connect().await
    }

    /// Prints a JSON value, or a table.
    fn print<T: serde::Serialize>(&self, value: &T, table: impl FnOnce() -> String) -> Result<(), Error> {
        match self.format {
            Format::Json => json_line(value, true),
            Format::Table => say(&table()),
        }
    }
}

/// Writes text to standard output; colors only reach a terminal.
fn say(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one JSON value.
fn json_line<T: serde::Serialize>(value: &T, pretty: bool) -> Result<(), Error> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    say(&(text.map_err(std::io::Error::from)? + "\n"))
}

/// Carries out a command.
///
/// # Errors
/// See [`Error`].
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    let context = Context { server: arguments.server, format: arguments.output };
    match arguments.command {
        Command::Show(Show::Neighbors(Neighbors { address: Some(address), .. })) => {
            neighbor::show(&context, address).await
        }
        Command::Show(Show::Neighbors(wanted)) => neighbor::list(&context, wanted).await,
        Command::Show(Show::Routes(wanted)) => routes::list(&context, wanted).await,
        Command::Show(Show::Clusters) => cluster::list(&context).await,
        Command::Show(Show::Policies) => policy::list(&context).await,
        Command::Show(Show::Owners) => routes::owners(&context).await,
        Command::Show(Show::Rpki { prefix: None, .. }) => rpki::caches(&context).await,
        Command::Show(Show::Rpki { prefix: Some(prefix), origin }) => rpki::validate(&context, prefix, origin).await,
        Command::Show(Show::Summary) => summary(&context).await,
        Command::Explain { prefix, to } => routes::explain(&context, prefix, to).await,
        Command::Watch(Watch::Routes(wanted)) => routes::watch(&context, wanted).await,
        Command::Watch(Watch::Neighbors(wanted)) => neighbor::watch(&context, wanted).await,
        Command::Neighbor(command) => neighbor::steer(&context, command).await,
        Command::Announce(route) => routes::announce(&context, route).await,
        Command::Withdraw { prefix } => routes::withdraw(&context, prefix).await,
        Command::Cluster(command) => cluster::steer(&context, command).await,
        Command::Config(command) => config::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Top { interval } => crate::top::run(&context.server, std::time::Duration::from_secs(interval)).await,
        Command::Log(command) => log::run(&context, command).await,
        Command::Decode(wanted) => decode::run(&wanted).and_then(|text| say(&text)),
        Command::Man { directory: Some(directory) } => {
            clap_mangen::generate_to(Arguments::command(), directory).map_err(Error::from)
        }
        Command::Man { directory: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            say(&String::from_utf8_lossy(&page))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "bgpctl", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
    }
}

async fn summary(context: &Context) -> Result<(), Error> {
    let mut client = StatusServiceClient::new(context.connect().await?);
    let status = client.get(v1::GetStatusRequest {}).await?.into_inner();
    context.print(&output::summary::json(&status), || output::summary::table(&status))
}
