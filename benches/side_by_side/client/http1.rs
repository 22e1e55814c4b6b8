//! HTTP/1.1 with pre-encoded requests and minimal response parsing.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Response, bad};

/// One keep-alive connection.
pub struct Http1 {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Http1 {
    pub async fn open(address: SocketAddr, size: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; size],
            start: 0,
            end: 0,
        })
    }

    /// Sends a request and reads the whole response; the body goes to `keep`, or is only counted.
    pub async fn call(&mut self, request: &[u8], mut keep: Option<&mut Vec<u8>>) -> io::Result<Response> {
        self.stream.write_all(request).await?;
        let (mut response, framing) = self.head().await?;
        match framing {
            Framing::Length(length) => {
                self.body(length, &mut keep).await?;
                response.length = length;
            }
            Framing::Chunked => loop {
                let size = self.chunk_size().await?;
                self.body(size, &mut keep).await?;
                response.length += size;
                let end = self.line().await?;
                if !end.is_empty() {
                    return Err(bad("a chunk does not end where it says"));
                }
                if size == 0 {
                    break;
                }
            },
        }
        Ok(response)
    }

    /// Sends a request and reads the response head; `read` yields the rest.
    pub async fn open_stream(&mut self, request: &[u8]) -> io::Result<Response> {
        self.stream.write_all(request).await?;
        Ok(self.head().await?.0)
    }

    /// The next bytes as received, including framing.
    pub async fn read(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill().await?;
        }
        let bytes = &self.buffer[self.start..self.end];
        self.start = self.end;
        Ok(bytes)
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            return Err(bad("a line longer than the buffer"));
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.end += read;
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            let waiting = &self.buffer[self.start..self.end];
            if let Some(at) = waiting[seen..].iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&waiting[..seen + at]).trim_end().to_owned();
                self.start += seen + at + 1;
                return Ok(line);
            }
            seen = waiting.len();
            self.fill().await?;
        }
    }

    async fn head(&mut self) -> io::Result<(Response, Framing)> {
        // Usually the whole head is in one buffer and needs one pass.
        let mut seen = 0;
        let length = loop {
            let waiting = &self.buffer[self.start..self.end];
            if let Some(at) = waiting[seen..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break seen + at;
            }
            seen = waiting.len().saturating_sub(3);
            self.fill().await?;
        };
        let head = std::str::from_utf8(&self.buffer[self.start..self.start + length]).map_err(|_| bad("no HTTP"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
        let mut response = Response {
            status: status.ok_or_else(|| bad("no HTTP status"))?,
            ..Response::default()
        };
        let mut framing = None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                framing = Some(Framing::Length(value.parse().map_err(|_| bad("no Content-Length"))?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Some(Framing::Chunked);
            } else if name.eq_ignore_ascii_case("stream-next-offset") {
                value.clone_into(&mut response.next_offset);
            } else if name.eq_ignore_ascii_case("stream-up-to-date") {
                response.up_to_date = value == "true";
            }
        }
        self.start += length + 4;
        let framing = match (response.status, framing) {
            (204 | 304, _) => Framing::Length(0),
            (_, Some(framing)) => framing,
            (_, None) => return Err(bad("an answer whose end is not given")),
        };
        Ok((response, framing))
    }

    async fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        usize::from_str_radix(digits, 16).map_err(|_| bad("no chunk size"))
    }

    async fn body(&mut self, length: usize, keep: &mut Option<&mut Vec<u8>>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill().await?;
            }
            let take = left.min(self.end - self.start);
            if let Some(kept) = keep {
                kept.extend_from_slice(&self.buffer[self.start..self.start + take]);
            }
            self.start += take;
            left -= take;
        }
        Ok(())
    }
}
