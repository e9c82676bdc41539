//! Asking our daemon, as any program may.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// Sends a request and returns the answer's line.
pub(crate) fn ask(socket: &Path, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How many grants an answer lists.
pub(crate) fn count(answer: &str) -> io::Result<usize> {
    let value: Value = serde_json::from_str(answer)?;
    let grants = value.get("grants").and_then(Value::as_array);
    grants.map(Vec::len).ok_or_else(|| {
        let begin: String = answer.chars().take(200).collect();
        io::Error::other(format!("no list of grants: {begin}"))
    })
}
