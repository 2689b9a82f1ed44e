//! Keys of TCP connections, which are read from files: what is on a command line everybody on the host can read.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bgpd_proto::v1;

use crate::Error;

/// `ID=FILE` or `ID/RECEIVE-ID=FILE`: a key of TCP-AO (RFC 5925).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AoKeyFile {
    id: u8,
    receive_id: Option<u8>,
    file: PathBuf,
}

impl FromStr for AoKeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no key of TCP-AO, expected a KeyID and a file, such as 1=neighbor.key");
        let (ids, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
        let (id, receive_id) = match ids.split_once('/') {
            Some((id, receive_id)) => (id, Some(receive_id.parse().map_err(|_| wrong())?)),
            None => (ids, None),
        };
        Ok(Self { id: id.parse().map_err(|_| wrong())?, receive_id, file: file.into() })
    }
}

impl AoKeyFile {
    /// The key, as bgpd is told.
    pub(crate) fn read(self, algorithm: &str) -> Result<v1::AoKey, Error> {
        let key = read(&self.file)?;
        let receive_id = self.receive_id.map(u32::from);
        Ok(v1::AoKey { id: self.id.into(), receive_id, algorithm: algorithm.to_owned(), key })
    }
}

/// The key in a file, without the end of its line.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(file).map_err(|error| Error::Input(format!("{}: {error}", file.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_id_or_two_and_a_file() {
        let key = |id, receive_id| AoKeyFile { id, receive_id, file: "a=b".into() };
        assert_eq!("1=a=b".parse(), Ok(key(1, None)));
        assert_eq!("255/0=a=b".parse(), Ok(key(255, Some(0))));
        for wrong in ["", "1", "1=", "256=a", "1/=a", "/1=a", "one=a"] {
            let error = wrong.parse::<AoKeyFile>().expect_err(wrong);
            assert!(error.contains("such as 1=neighbor.key"), "{error}");
        }
    }

    #[test]
    fn the_end_of_the_line_is_not_part_of_a_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key");
        fs::write(&file, " two words \r\n").expect("it can be written");
        let key = AoKeyFile { id: 1, receive_id: Some(2), file };
        let expected =
            v1::AoKey { id: 1, receive_id: Some(2), algorithm: String::new(), key: " two words ".to_owned() };
        assert_eq!(key.read("").expect("it is there"), expected);
        assert!(read(Path::new("/nowhere/key")).expect_err("it is not").to_string().starts_with("/nowhere/key: "));
    }
}
