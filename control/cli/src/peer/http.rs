//! As much HTTP/1.1 as signalling needs: one request per connection, over TCP or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long connecting, sending and answering may take, each.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Host and port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Server {
    /// `http://HOST[:PORT]` or `unix:/PATH`.
    pub fn parse(url: &str) -> Result<Server, String> {
        if let Some(path) = url.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Server::Unix(path.into())),
                false => Err(format!("{url:?}: a Unix socket is written unix:/PATH")),
            };
        }
        if url.starts_with("https://") {
            return Err(
                "peers speak plain HTTP only: use the node's loopback address or Unix socket, \
                        on the node's host"
                    .to_owned(),
            );
        }
        let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let host =
            host.filter(|host| !host.is_empty() && !host.contains(['/', '?', ' ', '\r', '\n']));
        let Some(host) = host else {
            return Err(format!("{url:?} is neither http://HOST:PORT nor unix:/PATH"));
        };
        let has_port = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let bare_v6 = host.ends_with(']');
        Ok(Server::Tcp(if has_port && !bare_v6 { host.to_owned() } else { format!("{host}:80") }))
    }

    /// The local address from which the server is reached; `None` for a Unix socket.
    pub fn local_address(&self) -> io::Result<Option<std::net::IpAddr>> {
        match self {
            Server::Unix(_) => Ok(None),
            Server::Tcp(host) => Ok(Some(connect(host)?.local_addr()?.ip())),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request and reads its answer.
pub fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let host = match server {
        Server::Tcp(host) => host.as_str(),
        Server::Unix(_) => "localhost",
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    match server {
        Server::Tcp(host) => {
            let stream = connect(host)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            exchange(stream, head.as_bytes(), body)
        }
        Server::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            exchange(stream, head.as_bytes(), body)
        }
    }
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, head: &[u8], body: &[u8]) -> io::Result<Answer> {
    stream.write_all(head)?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut bytes = vec![];
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let mut status_line = lines.next()?.split(' ');
    if !status_line.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = status_line.next()?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
        answer.body = unchunk(&answer.body)?;
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().ok()?;
        (answer.body.len() >= length).then_some(())?;
        answer.body.truncate(length);
    }
    Some(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls_name_a_server_or_say_what_is_wrong() {
        let tcp = |host: &str| Ok(Server::Tcp(host.to_owned()));
        assert_eq!(Server::parse("http://127.0.0.1:8080/"), tcp("127.0.0.1:8080"));
        assert_eq!(Server::parse("http://[::1]"), tcp("[::1]:80"));
        assert_eq!(Server::parse("http://node"), tcp("node:80"));
        assert_eq!(Server::parse("unix:/run/x.sock"), Ok(Server::Unix("/run/x.sock".into())));
        for bad in ["unix:x", "ftp://x", "http://", "http://h/path", "https://node", "node:80"] {
            assert!(Server::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_its_body_and_the_answer_its_headers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 4096];
            let mut len = 0;
            while !bytes[..len].ends_with(b"v=0") {
                len += stream.read(&mut bytes[len..]).unwrap();
            }
            let answer = "HTTP/1.1 201 Created\r\nLocation: /whip/1\r\nTransfer-Encoding: chunked\r\n\r\n\
                          3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        });
        let to = Server::Tcp(address.to_string());
        let answer = request(&to, "POST", "/whip/7/r", &[("X-A", "b")], b"v=0").unwrap();
        let sent = server.join().unwrap();
        assert!(sent.starts_with("POST /whip/7/r HTTP/1.1\r\nHost: 127.0.0.1:"), "{sent}");
        assert!(sent.contains("\r\nX-A: b\r\nContent-Length: 3\r\n\r\nv=0"), "{sent}");
        assert_eq!((answer.status, answer.body.as_slice()), (201, b"abcde".as_slice()));
        assert_eq!(answer.header("location"), Some("/whip/1"));
    }

    #[test]
    fn cut_answers_are_refused() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(parse(whole).unwrap().body, b"body");
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
    }
}
