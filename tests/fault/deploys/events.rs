//! An HTTP/1.1 response with server-sent events, parsed as it arrives, without a buffer of its own.

/// A part of the response.
pub enum Part<'a> {
    /// The status line has arrived.
    Status(u16),
    /// A line of the event stream; empty at the end of an event.
    Line(&'a [u8]),
    /// The response is complete.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Status,
    Headers,
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Over,
}

pub struct Events {
    state: State,
    /// An unfinished line of the head, or of a chunk's frame.
    frame: Vec<u8>,
    /// An unfinished line of the event stream.
    line: Vec<u8>,
}

impl Events {
    pub fn new() -> Self {
        Self {
            state: State::Status,
            frame: Vec::new(),
            line: Vec::new(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(Part<'_>)) {
        while !bytes.is_empty() && self.state != State::Over {
            if let State::Chunk(left) = self.state {
                let (content, rest) = bytes.split_at(left.min(bytes.len()));
                self.content(content, &mut on);
                bytes = rest;
                self.state = match left - content.len() {
                    0 => State::ChunkEnd,
                    left => State::Chunk(left),
                };
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            self.frame.extend_from_slice(part);
            bytes = rest;
            if end.is_some() {
                let frame = std::mem::take(&mut self.frame);
                self.framed(String::from_utf8_lossy(&frame).trim_end(), &mut on);
            }
        }
    }

    /// A line outside the content.
    fn framed(&mut self, line: &str, on: &mut impl FnMut(Part<'_>)) {
        self.state = match self.state {
            State::Status => {
                let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
                on(Part::Status(status.unwrap_or(0)));
                State::Headers
            }
            State::Headers if line.is_empty() => State::ChunkSize,
            State::Headers => State::Headers,
            State::ChunkSize => match usize::from_str_radix(line, 16) {
                Ok(1..) => State::Chunk(usize::from_str_radix(line, 16).unwrap()),
                _ => {
                    on(Part::End);
                    State::Over
                }
            },
            _ => State::ChunkSize,
        };
    }

    fn content(&mut self, mut content: &[u8], on: &mut impl FnMut(Part<'_>)) {
        while let Some(end) = content.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = content.split_at(end);
            content = &rest[1..];
            if self.line.is_empty() {
                on(Part::Line(line));
            } else {
                self.line.extend_from_slice(line);
                on(Part::Line(&self.line));
                self.line.clear();
            }
        }
        self.line.extend_from_slice(content);
    }
}
