//! A long prefix list for FRR, given to it as a whole.
//!
//! FRR 8.4 compares each entry of a prefix list with all others, through its YANG tree, so that the time for a list
//! grows with the square of its length. Line by line, from a file or through vtysh, each entry is looked for twice. Its
//! transactional command line takes the list as JSON, in one transaction, and looks for each entry once: that is the
//! shortest that there is.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long FRR may take for the list.
const PATIENCE: Duration = Duration::from_secs(1200);
/// How long its socket may take to be there.
const START: Duration = Duration::from_secs(10);
/// What is said for success at the end of an answer, behind three zero octets.
const DONE: u8 = 0;

/// The list `name` of these prefixes, as `frr-filter.yang` has it.
pub(super) fn json(name: &str, prefixes: impl Iterator<Item = String>) -> String {
    let mut entries = String::new();
    for (number, prefix) in prefixes.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let sequence = number + 1;
        // Writing to a string does not fail.
        let _ = write!(entries, r#"{comma}{{"sequence":{sequence},"action":"permit","ipv4-prefix":"{prefix}"}}"#);
    }
    format!(r#"{{"frr-filter:lib":{{"prefix-list":[{{"type":"ipv4","name":"{name}","entry":[{entries}]}}]}}}}"#)
}

/// Has a bgpd that was started with `--tcli` and this directory for its socket take the list, and then the rest of its
/// configuration, with which it begins to listen.
pub(super) fn load(directory: &Path, list: &str, rest: &str) -> io::Result<()> {
    let file = directory.join("prefix-list.json");
    fs::write(&file, list)?;
    let mut socket = connect(&directory.join("bgpd.vty"))?;
    let load = format!("configuration load file json {}", file.display());
    for command in ["enable", "configure terminal", &load, "commit"].into_iter().chain(rest.lines().map(str::trim)) {
        ask(&mut socket, command)?;
    }
    Ok(())
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let end = Instant::now() + START;
    loop {
        match UnixStream::connect(path) {
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
        }
    }
}

/// What vtysh does: a command that ends with a zero octet, then text, three zero octets and one that says how it went.
fn ask(socket: &mut UnixStream, command: &str) -> io::Result<()> {
    socket.write_all(&[command.as_bytes(), b"\0"].concat())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read]);
        match answer.as_slice() {
            [.., 0, 0, 0, DONE] => return Ok(()),
            [text @ .., 0, 0, 0, _] => return Err(refused(command, text)),
            text if read == 0 => return Err(refused(command, text)),
            _ => {}
        }
    }
}

fn refused(command: &str, text: &[u8]) -> io::Error {
    io::Error::other(format!("FRR refuses \"{command}\": {}", String::from_utf8_lossy(text).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_json_with_an_entry_for_each_prefix_in_order() {
        let list = json("tested", ["192.0.2.0/25", "192.0.2.128/25"].map(str::to_owned).into_iter());
        let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let entries = &list["frr-filter:lib"]["prefix-list"][0]["entry"];
        assert_eq!((&entries[0]["sequence"], &entries[1]["sequence"]), (&1.into(), &2.into()), "{list}");
        assert_eq!(entries[1]["ipv4-prefix"], "192.0.2.128/25", "{list}");
    }
}
