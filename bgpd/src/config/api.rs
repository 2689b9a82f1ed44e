//! `[api]` and `[log]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Group, User};
use toml::de::DeValue;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::credentials::{self, Credentials};
use super::diagnosis::Problems;
use super::reader::Section;
use super::value::{FromToml, Wrong, bounded, named, text, wrong};

/// Where the API listens unless configured otherwise.
const SOCKET: &str = "/run/bgpd/bgpd.sock";
/// Server streams at a time unless configured otherwise.
const STREAMS: usize = 256;
/// Owner and group may use the socket.
const MODE: u32 = 0o660;

/// Where the API listens, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Endpoints.
    pub listen: Vec<Endpoint>,
    /// Mode of Unix sockets.
    pub socket_mode: u32,
    /// Owner of Unix sockets; `None` is the user of the process.
    pub socket_owner: Option<String>,
    /// Group of Unix sockets; `None` is that of the process.
    pub socket_group: Option<String>,
    /// Most server streams at a time.
    pub max_streams: usize,
    /// Who may do what over TCP.
    pub credentials: Credentials,
}

/// One endpoint of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP: with TLS where that is configured, else on a loopback address only.
    Tcp(SocketAddr),
}

/// How the daemon logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Least level, or a filter such as `info,bgpd::peer=debug`.
    pub level: String,
    /// Form of the lines.
    pub format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: vec![Endpoint::Unix(SOCKET.into())],
            socket_mode: MODE,
            socket_owner: None,
            socket_group: None,
            max_streams: STREAMS,
            credentials: Credentials::default(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl FromToml for Endpoint {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        let wrong = |message: String, help: &str| Err(Wrong { message, help: help.to_owned() });
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                path if path.starts_with('/') => Ok(Self::Unix(path.into())),
                _ => wrong(
                    format!("\"{path}\" is not an absolute path"),
                    "expected one such as \"unix:/run/bgpd/bgpd.sock\"",
                ),
            };
        }
        match text.strip_prefix("tcp://").map(str::parse::<SocketAddr>) {
            Some(Ok(address)) => Ok(Self::Tcp(address)),
            _ => wrong(
                format!("\"{text}\" is not an endpoint"),
                "expected \"unix:/run/bgpd/bgpd.sock\" or \"tcp://127.0.0.1:50179\"",
            ),
        }
    }
}

/// A number of streams.
struct MaxStreams(usize);

impl FromToml for MaxStreams {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, 100_000_u32).map(|streams| Self(streams as usize))
    }
}

/// A file mode, written as in chmod.
struct Mode(u32);

impl FromToml for Mode {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(Wrong {
                message: format!("\"{text}\" is not a file mode"),
                help: "expected one such as \"0660\"".to_owned(),
            }),
        }
    }
}

/// A user of this host.
struct UserName(String);

impl FromToml for UserName {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let name = text(value, "bgp-admin")?;
        on_this_host("user", name, User::from_name(name).map(|user| user.is_some())).map(Self)
    }
}

/// A group of this host.
struct GroupName(String);

impl FromToml for GroupName {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let name = text(value, "bgp-admins")?;
        on_this_host("group", name, Group::from_name(name).map(|group| group.is_some())).map(Self)
    }
}

fn on_this_host(kind: &str, name: &str, found: nix::Result<bool>) -> Result<String, Wrong> {
    let database = if kind == "user" { "passwd" } else { "group" };
    let help = format!("expected the name of a {kind} that this host has: `getent {database}` lists them");
    match found {
        Ok(true) => Ok(name.to_owned()),
        // Some hosts answer so when there is no such name (getpwnam_r(3)).
        Ok(false) | Err(Errno::ENOENT | Errno::ESRCH) => wrong(format!("there is no {kind} \"{name}\""), help),
        Err(error) => wrong(format!("{kind} \"{name}\" cannot be looked up: {error}"), help),
    }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems<'_>) -> ApiSettings {
    let defaults = ApiSettings::default();
    let listen = section.list::<Endpoint>("listen", problems);
    let mode = section.value::<Mode>("socket-mode", problems);
    let owner = section.value::<UserName>("socket-owner", problems);
    let group = section.value::<GroupName>("socket-group", problems);
    let max_streams = section.value::<MaxStreams>("max-streams", problems);
    let has_tls = section.has("tls");
    let credentials = credentials::read(&mut section, problems);
    section.finish(problems);
    for endpoint in listen.iter().flatten().filter(|_| !has_tls) {
        if let Endpoint::Tcp(address) = &endpoint.value
            && !address.ip().is_loopback()
        {
            let message = format!("listen: {address} is not a loopback address, and there is no TLS");
            let help = "add [api.tls] with cert-file and key-file, or listen on 127.0.0.1";
            problems.error(endpoint.span.clone(), message, help);
        }
    }
    ApiSettings {
        listen: listen.map_or(defaults.listen, |all| all.into_iter().map(|at| at.value).collect()),
        socket_mode: mode.map_or(defaults.socket_mode, |mode| mode.0),
        socket_owner: owner.map(|owner| owner.0),
        socket_group: group.map(|group| group.0),
        max_streams: max_streams.map_or(defaults.max_streams, |streams| streams.0),
        credentials,
    }
}

impl FromToml for LogFormat {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        named(&text, &["text", "json"], "log format")?;
        Ok(if text == "json" { Self::Json } else { Self::Text })
    }
}

pub(super) fn read_log(mut section: Section<'_>, problems: &mut Problems<'_>) -> LogSettings {
    let defaults = LogSettings::default();
    let level = section.get::<String>("level", problems);
    if let Some(level) = &level
        && let Err(error) = filter(&level.value)
    {
        let help = "expected error, warn, info, debug, trace, or a filter such as \"info,bgpd::peer=debug\"";
        problems.error(level.span.clone(), format!("level: \"{}\": {error}", level.value), help);
    }
    let format = section.value("format", problems);
    section.finish(problems);
    LogSettings { level: level.map_or(defaults.level, |at| at.value), format: format.unwrap_or(defaults.format) }
}

/// Checks a log filter. A word without `=` is a level: as the name of a module it would silence everything else.
fn filter(text: &str) -> Result<(), String> {
    text.parse::<Targets>().map_err(|error| error.to_string())?;
    for word in text.split(',').filter(|word| !word.contains('=')) {
        word.trim().parse::<LevelFilter>().map_err(|_| format!("\"{word}\" is not a level"))?;
    }
    Ok(())
}
